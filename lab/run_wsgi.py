"""Serves an OpenStack API: run_wsgi.py MODULE PORT THREADS.

The services parse sys.argv when they are imported, so our arguments are removed first.
"""

import importlib
import sys

from waitress import serve

module, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
del sys.argv[1:]
serve(
    importlib.import_module(module).application,
    host="127.0.0.1",
    port=port,
    threads=threads,
    clear_untrusted_proxy_headers=True,
)
