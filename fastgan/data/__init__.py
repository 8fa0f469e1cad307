"""Images and labels: data sets, imbalanced splits, and folders of the user's own images."""
