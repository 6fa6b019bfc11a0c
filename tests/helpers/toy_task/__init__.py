"""A task of somebody's own: predict the label as a number."""
