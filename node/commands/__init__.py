"""What each command of ``ainode`` does.

What only some of them need is imported by these: the roles of a running node start here too, and stay small.
"""
