"""The calls of `wherry.Client`, one class for each subject."""
