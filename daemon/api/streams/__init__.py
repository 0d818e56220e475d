"""Streams of progress: one reader for everything that is followed, and as many followers as there are clients.

`reader` looks at the database, `watch` keeps what it saw of one orchestration, `follower` knows what one client has
been told, `events` and `routes/progress` tell it, as Server-Sent Events and as answers to long polls.
"""
