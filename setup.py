from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
REPORT = ["matplotlib>=3.7", "pandas>=2"]
# image codecs and coded frames (--image, --frames), and Bjontegaard's deltas of their curves;
# the encoders of PyAV 19.0 abort the process on small pictures
CODECS = ["av>=15,<19", "bjontegaard>=1.3", "imagecodecs>=2024.9.22", "pillow>=11.3"]
# the coder of a map's indices, compiled: the same bytes, several times as fast
FAST = ["numba>=0.60"]
TEST = ["hypothesis>=6.80", "pytest>=7.4", *REPORT, *CODECS, *FAST]
# the site of docs/
DOCS = ["furo>=2024.8", "myst-parser>=4", "sphinx>=8"]
# ruff by its minor version, which decides the format
DEV = ["build>=1", "import-linter>=2", "mypy>=2,<3", "ruff>=0.17,<0.18", *DOCS]

setup(
    name="detectron2-patch",
    version="0.1.0",
    description="Which levels of a detector's feature pyramid matter, and how little to send",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The detectron2_patch authors",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["detectron2_patch", "detectron2_patch.*"]),
    package_data={
        "detectron2_patch": [
            "py.typed",
            "config/defaults.yaml",
            "demo/model_final.pth",
            "report/assets/*",
        ]
    },
    install_requires=[
        # no wheels for Linux on ARM, where --bits needs the extra fast
        "constriction>=0.5; sys_platform != 'linux' or platform_machine == 'x86_64'",
        "filelock>=3.12",
        "hotcoco>=1.3",
        "numpy>=1.24",
        "pillow>=9.4",
        "pycocotools>=2.0.7",
        "pyyaml>=6",
        "safetensors>=0.4",
        "tabulate>=0.9",
        "torch>=2.2",
        "torchvision>=0.17",
        "tqdm>=4.60",
        "yacs>=0.1.8",
    ],
    extras_require={
        "report": REPORT,
        "codecs": CODECS,
        "fast": FAST,
        "test": TEST,
        "docs": DOCS,
        "dev": DEV,
    },
)
