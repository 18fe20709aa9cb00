"""What each service of a worker is made of: one file a service, put together by `app.main`."""
