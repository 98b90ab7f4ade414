"""`python -m pipeline [OVERRIDE ...]`: one configuration is one MLflow run."""

from pipeline.commands.run import run_app

if __name__ == "__main__":
    run_app()
