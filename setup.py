import shutil
from pathlib import Path

import setuptools

# pbr packs whatever lies in a folder of data files, and Python leaves compiled migrations there.
for cache in Path(__file__).parent.glob("alembic/**/__pycache__"):
    shutil.rmtree(cache, ignore_errors=True)

setuptools.setup(setup_requires=["pbr>=6.0"], pbr=True)
