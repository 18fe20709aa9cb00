"""The parts of each service of a worker: a file for each service, combined by `app.main`."""
