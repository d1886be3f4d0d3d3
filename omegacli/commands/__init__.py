"""One module per noun; each exports `app`, and is imported only when its noun is typed."""
