"""Install the plug-in projects of this repository as importable packages.

Each project keeps its package in ``projects/<Project>/<package>``; ``package_dir`` maps them, as
detectron2 does for its projects, so that nothing edits ``sys.path``.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# package -> folder. A new project adds one line.
PROJECTS = {
    "reid_common": "projects/ReIDCommon/reid_common",
    "fastreid_compat": "projects/FastReIDCompat/fastreid_compat",
    "reid_core": "projects/ReIDCore/reid_core",
    "fasteval": "projects/FastEval/fasteval",
    "toyreid": "projects/ToyReID/toyreid",
    "transreid": "projects/TransReID/transreid",
    "dinopretrain": "projects/DINOPretrain/dinopretrain",
    "cfs": "projects/CFS/cfs",
    "clustercontrast": "projects/ClusterContrast/clustercontrast",
    "reid_commands": "projects/Commands/reid_commands",
}

PLUG_INS = ["fasteval", "toyreid", "transreid", "dinopretrain", "cfs", "clustercontrast"]

EXPORT = ["onnx>=1.16", "onnxruntime>=1.18"]


def all_packages() -> tuple[list[str], dict[str, str]]:
    """Every package and sub-package of PROJECTS, and where each lies."""
    names, folders = [], {}
    for package, folder in PROJECTS.items():
        names.append(package)
        folders[package] = folder
        for sub in find_packages(str(ROOT / folder)):
            names.append(f"{package}.{sub}")
            folders[f"{package}.{sub}"] = f"{folder}/{sub.replace('.', '/')}"
    return names, folders


packages, package_dir = all_packages()

setup(
    name="fastreid-transreid",
    version="0.1.0",
    description="TransReID for FastReID, and FastReID 1.4.0 on today's Python",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=packages,
    package_dir=package_dir,
    entry_points={
        "console_scripts": ["transreid = reid_commands.__main__:main"],
        # Projects whose keys every config has, see reid_core.config.projects
        "reid_core.projects": [f"{name} = {name}" for name in PLUG_INS],
    },
    package_data={"reid_common": ["*.jinja"]},
    # fastreid itself is absent on purpose: its pins of 2022 (torch 1.13) cannot be met any more, so
    # it is installed with `pip install --no-deps fastreid==1.4.0`. What it really needs is below.
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "timm>=1.0.16",  # first with timm.layers.Attention, see transreid.modeling.cls_attention
        "safetensors",  # published weights
        "numpy>=1.26",
        "scipy>=1.15",  # first with rng= in bootstrap, see fasteval.analysis.bootstrap
        "scikit-learn",
        "faiss-cpu>=1.8",
        "opencv-python-headless>=4.8",
        "Pillow",
        "matplotlib",
        "yacs>=0.1.8",
        "PyYAML",
        "tabulate",
        "filelock>=4.1",  # first that forked workers do not keep locked
        "Jinja2>=3.1",  # reid_common.report_pages
        "termcolor",
        "tensorboard",
        "tqdm",
    ],
    extras_require={
        # tools/export_onnx.py; whoever only runs an exported model needs onnxruntime alone
        "export": EXPORT,
        # .xml files, and --backend openvino, see docs/make-it-fast.md
        "openvino": [*EXPORT, "openvino>=2024.3"],
        # from_pretrained("user/name"), transreid publish --push; timm brings it along today
        "hub": ["huggingface_hub"],
        # completion of commands in bash: eval "$(register-python-argcomplete transreid)"
        "completion": ["argcomplete"],
        # feature files and labels as .parquet
        "parquet": ["pyarrow"],
        # LUPerson as it is released
        "lmdb": ["lmdb"],
        # Formatter and type checker change their verdicts with every release: pinned, so that the
        # same commit passes today and next year, here and in CI.
        "dev": [
            "pytest>=8",
            "ruff==0.17.6",
            "mypy==2.4.1",
            "import-linter>=2.17",  # contracts: layers, acyclic_siblings
            "pre-commit",
            "pytest-xdist",
            "pyarrow",
            "lmdb",
            *EXPORT,
        ],
    },
)
