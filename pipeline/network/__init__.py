"""Models as chains of layers, their cut points, their stages as modules and as programs, and their inputs."""
