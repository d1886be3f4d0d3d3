// Buttons that copy what is shown beside them: <button data-copy="#id">.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.querySelector(button.dataset.copy).textContent.trim();
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const range = document.createRange(); // no clipboard without TLS: leave it selected instead
    range.selectNodeContents(document.querySelector(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = said; }, 2000);
});
// A form that takes a while says so, and is not sent twice: <form data-upload> with <p data-busy hidden>.
document.addEventListener("submit", (event) => {
  const busy = event.target.matches("[data-upload]") && event.target.querySelector("[data-busy]");
  if (!busy) return;
  busy.hidden = false;
  event.target.querySelector("button").disabled = true;
});
// A part that renews itself keeps the focus: where what had it is gone, the part itself gets it.
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  part.hadFocus = part.tabIndex === -1 && part.contains(document.activeElement);
});
document.addEventListener("htmx:afterSettle", (event) => {
  const part = event.detail.target;
  if (part.hadFocus && !part.contains(document.activeElement)) part.focus({ preventScroll: true });
});
// A clock is that of whoever looks, where nothing else was said: <input data-zone>.
for (const input of document.querySelectorAll("[data-zone]")) {
  input.value = Intl.DateTimeFormat().resolvedOptions().timeZone || input.value;
}
