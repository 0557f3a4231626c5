"""Parts of the receive benchmark and the soak: what is sent, who receives, what is measured, how it is told."""
