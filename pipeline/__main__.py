"""`python -m pipeline [OVERRIDE ...]`: one configuration is one MLflow run."""

import sys

if __name__ == "__main__":
    try:
        from pipeline.commands.run import run_app

        run_app()
    except KeyboardInterrupt:  # during the imports, which take seconds
        sys.exit("interrupted")
