"""The search behind `pipeline.planning.exact_front`: label setting over (cut, current device). Pure."""
