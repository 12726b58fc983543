"""wwfl: clusters that run different MPC protocols train one model together; nobody ever sees it."""
