"""`python -m pipeline [OVERRIDE ...]`: one configuration is one MLflow run."""

from pipeline.commands.run import main

if __name__ == "__main__":
    main()
