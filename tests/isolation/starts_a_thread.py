"""A module that starts a thread when imported: it may not be preloaded."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
