"""CT scans that nobody had to give: a synthetic thorax for demonstrations and tests."""
