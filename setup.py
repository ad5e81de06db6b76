"""Packaging of llmux; `package_dir` makes an editable install visible to twistd's plugin search."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "llmux" / "__init__.py").read_text())

setup(
    name="llmux",
    version=VERSION.group(1) if VERSION else "0",
    description="A streaming proxy that routes each model request to the provider its user chose",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    package_dir={"": "."},
    packages=[*find_packages(include=["llmux", "llmux.*"]), "twisted.plugins"],
    package_data={"llmux": ["py.typed"], "llmux.web": ["static/*"]},
    install_requires=[
        "twisted[tls]>=26.10",
        "klein>=24.8",
        "pyyaml>=6",
        "msgspec>=0.20",
        "prometheus_client>=0.22",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.150",
            "httptools>=0.6",
            "treq>=26.7",
            "coverage>=7",
            "mypy>=2.4",
            "mypy-zope>=1.0.17",
            "ruff>=0.17",
            "types-PyYAML",
            "openai>=3.54",
            "anthropic>=2.12",
            "google-genai>=3.4",
            "websockets>=15",
        ],
    },
    entry_points={"console_scripts": ["llmux = llmux.daemon.commands.main:main"]},
)
