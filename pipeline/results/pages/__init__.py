"""HTML pages from templates, and files in the working directory."""
