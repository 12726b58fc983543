"""Other people's MPC runtimes as engines of a protocol: each party's end runs in a process of its
own."""
