"""From a scan to maps on disk: fit or network, findings, picture, page and record."""
