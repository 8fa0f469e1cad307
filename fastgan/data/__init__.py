"""Images and labels: data sets, splits, and folders of one's own."""
