"""Real scans: BIDS folders and plain files to difference images in units of M0, each field checked."""
