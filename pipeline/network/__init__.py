"""A model as a chain of layers; a stage of it as a module and as a program; its inputs."""
