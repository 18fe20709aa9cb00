"""Settings by what they concern: each file is a part of `app.settings.Settings`, with the checks of its own."""
