"""The real parts that tests run against, each with one file: started, stopped, paused and killed from here."""
