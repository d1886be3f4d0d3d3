"""The platform's front door: accounts, API keys, REST API, admin and dashboard."""
