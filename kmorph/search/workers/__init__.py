"""Where candidates are trained: executors, the jobs sent to them, and the code that runs inside a worker."""
