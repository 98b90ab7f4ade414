"""Tables that are printed, or written as Markdown."""
