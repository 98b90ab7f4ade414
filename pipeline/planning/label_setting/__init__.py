"""The search behind `pipeline.planning.exact_front`: label setting over (cut, device at work). Pure."""
