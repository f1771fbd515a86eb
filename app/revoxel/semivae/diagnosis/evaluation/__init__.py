"""One evaluation on patients that the network has not seen: plan, scans, figures, files, picture."""
