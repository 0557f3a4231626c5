"""The API, the pages and the events of the web role."""
