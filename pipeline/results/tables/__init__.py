"""Tables for people: printed, or as Markdown."""
