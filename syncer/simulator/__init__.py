"""An imitation of the image service over real HTTP. It imports nothing of the client: no shared misreadings."""
