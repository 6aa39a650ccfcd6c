"""JupyterHub's configuration: everything is in a tested function. Settings come from READINGROOM_ variables."""

from readingroom_hub.config import load
from readingroom_hub.jhub.configure import apply

apply(get_config(), load())
