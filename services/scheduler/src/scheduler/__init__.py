"""The scheduler: owns the queue and all policy, and streams jobs to executors."""
