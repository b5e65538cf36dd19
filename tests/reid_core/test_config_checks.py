"""Settings that cannot work give one line with key, value and remedy before anything is built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import python_forks
from reid_common.errors import UserError
from reid_core.config import Project, fastreid_keys, load_config, projects, register_project
from reid_core.config.declaration import ABSENT, Key, Rule, add_keys, check_config, value_of
from reid_core.config.projects import declared_keys
from reid_core.config.values import TEXT, whole
from reid_core.run.validation import validate_config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "projects"
VIT = CONFIGS / "TransReID/configs/ToyReID/vit_tiny_transreid.yml"
DINO = CONFIGS / "DINOPretrain/configs/ToyUnlabeled/vit_tiny.yml"
CNN = CONFIGS / "TransReID/configs/ToyReID/bagtricks_R18.yml"
ALL = sorted(
    path for name in ("TransReID", "DINOPretrain") for path in (CONFIGS / name).glob("**/*.yml")
)

# Key, value as on the command line, what the line says behind the key and the value.
OF_THE_ISSUE = [
    ("SOLVER.BASE_LR", "-0.1", "write a number above 0"),
    ("MODEL.LOSSES.GLOBAL_WEIGHT", "-1.0", "write a number of at least 0"),
    ("MODEL.JPM.SHIFT_NUM", "999", "x .* patches; write a number up to that"),
    ("MODEL.BACKBONE.STRIDE_SIZE", "[32, 32]", r"never seen; write at most \[16, 16\]"),
    ("DATALOADER.NUM_WORKERS", "-1", "write a whole number of at least 0"),
    ("MODEL.DEVICE", "tpu", "write cpu, cuda"),
    ("MODEL.BACKBONE.DROP_PATH_RATIO", "2.0", "write a number of at least 0 and below 1"),
    ("MODEL.PIXEL_MEAN", "[127.5, 127.5]", "write three numbers"),
    ("MODEL.PIXEL_STD", "[0, 0, 0]", "write three numbers above 0"),
    ("INPUT.REA.PROB", "7.0", "write a number from 0 to 1"),
    ("MODEL.LOSSES.NAME", "('TripletLos',)", "write a list of losses, of CrossEntropyLoss, "),
]
OF_THEIR_KIND = [
    # MODEL
    ("MODEL.META_ARCHITECTURE", "TransReId", "Did you mean 'TransReID'"),
    ("MODEL.DEVICE", "cuda:x", "write cpu, cuda"),
    ("MODEL.PIXEL_MEAN", "['a', 1, 2]", "write three numbers"),
    ("MODEL.PIXEL_STD", "[58.0, 57.0, -57.0]", "write three numbers above 0"),
    ("MODEL.BACKBONE.FEAT_DIM", "768", "192 dimensions; set FEAT_DIM: 192"),
    ("MODEL.BACKBONE.TIMM_NAME", "vit_tinny_patch16_224", "similar: vit_tiny_patch16_224"),
    ("MODEL.BACKBONE.TIMM_NAME", "resnet18", "no plain ViT|plain ViT"),
    ("MODEL.BACKBONE.NUM_BLOCKS", "-2", "write a whole number of at least 0"),
    ("MODEL.BACKBONE.NUM_BLOCKS", "40", "12 blocks; write a number up to 12"),
    ("MODEL.BACKBONE.STRIDE_SIZE", "[0, 16]", r"write \[rows, columns\] in pixels"),
    ("MODEL.BACKBONE.STRIDE_SIZE", "[16]", r"write \[rows, columns\] in pixels"),
    ("MODEL.BACKBONE.STEM", "isc", "Did you mean 'ics'"),
    ("MODEL.BACKBONE.PRETRAIN_GRID", "[14]", r"write \[rows, columns\]"),
    ("MODEL.BACKBONE.DROP_RATIO", "1e999", "is inf; write a number of at least 0 and below 1"),
    ("MODEL.BACKBONE.SIE_COE", "1e999", "is inf; write a number"),
    ("MODEL.BACKBONE.NORM", "LN", "Known: , BN, FrozenBN"),
    ("MODEL.SIE.UNKNOWN", "maen", "Did you mean 'mean'"),
    ("MODEL.SIE.NUM_CAMERAS", "-6", "write a whole number of at least 0"),
    ("MODEL.SIE.CAMERA_DROPOUT", "1.0", "write a number of at least 0 and below 1"),
    ("MODEL.JPM.NUM_PARTS", "0", "write a whole number of at least 1"),
    ("MODEL.JPM.NUM_PARTS", "500", "patches; write a number up to that"),
    ("MODEL.JPM.SHUFFLE_GROUPS", "-1", "write a whole number of at least 1"),
    ("MODEL.HEADS.TEST_NECK_FEAT", "befor", "Did you mean 'before'"),
    ("MODEL.HEADS.CLS_LAYER", "ArcFace", "Known: .*ArcSoftmax"),
    ("MODEL.HEADS.POOL_LAYER", "gem", "Known: .*GeneralizedMeanPooling"),
    ("MODEL.HEADS.NUM_CLASSES", "-1", "write a whole number of at least 0"),
    ("MODEL.LOSSES.NAME", "()", "at least one"),
    ("MODEL.LOSSES.GLOBAL_WEIGHT", "None", "write a number of at least 0"),
    ("MODEL.LOSSES.CE.EPSILON", "1.5", "write a number from 0 to 1, or -1"),
    ("MODEL.LOSSES.TRI.MARGIN", "-0.3", "write a number of at least 0"),
    # INPUT
    ("INPUT.SIZE_TRAIN", "[8, 8]", "make them equal"),
    ("INPUT.SIZE_TEST", "[128.0, 64]", r"write \[height, width\] in pixels"),
    ("INPUT.TRANSFORM", "transreid", "Did you mean 'TransReID'"),
    ("INPUT.FLIP.PROB", "-0.5", "write a number from 0 to 1"),
    ("INPUT.PADDING.SIZE", "-10", "write a whole number of at least 0"),
    ("INPUT.PADDING.MODE", "zero", "write|Known: constant"),
    ("INPUT.CJ.HUE", "0.9", "write a number from 0 to 0.5"),
    ("INPUT.CROP.SCALE", "[1, 0.2]", "0 < low <= high <= 1"),
    ("INPUT.REA.VALUE", "[1, 2]", "write a list of one number or of three"),
    # DATASETS, DATALOADER
    ("DATASETS.NAMES", "()", "write the names of the training sets"),
    ("DATASETS.NAMES", "('ToyReid',)", "Did you mean 'ToyReID'"),
    ("DATASETS.TESTS", "(3,)", "write a list of names of data sets"),
    ("DATASETS.CAMERAS", "('toyreid',)", "write name:number, as in"),
    ("DATASETS.CAMERAS", "('toyreid:0',)", "at least 1 is needed"),
    ("DATASETS.FILTERS", "[{'NAME': 'CFSFiltr'}]", "Did you mean 'CFSFilter'"),
    ("DATASETS.FILTERS", "[{'NAME': 'ResolutionFilter', 'MIN_HEIGHT': -4}]", "write a number"),
    ("DATALOADER.NUM_INSTANCE", "3", "multiple of DATALOADER.NUM_INSTANCE"),
    ("DATALOADER.NUM_INSTANCE", "0", "write a whole number of at least 1"),
    ("DATALOADER.SET_WEIGHT", "[1, -1]", "write a list, each a whole number"),
    # SOLVER
    ("SOLVER.BASE_LR", "0.0", "write a number above 0"),
    ("SOLVER.BASE_LR", "1e999", "is inf; write a number above 0"),
    ("SOLVER.BASE_LR", "nan", r"write a number with a decimal point, such as"),
    ("SOLVER.BASE_LR", "fast", r"write a number with a decimal point, such as"),
    ("SOLVER.MAX_EPOCH", "0", "write a whole number of at least 1"),
    ("SOLVER.MAX_EPOCH", "1.5", "write a whole number, such as"),
    ("SOLVER.MAX_EPOCH", "True", "write a whole number, such as"),
    ("SOLVER.MOMENTUM", "1.0", "write a number of at least 0 and below 1"),
    ("SOLVER.WEIGHT_DECAY", "-0.0001", "write a number of at least 0"),
    ("SOLVER.GAMMA", "-0.1", "write a number above 0"),
    ("SOLVER.STEPS", "['ten']", "write a list, each a whole number"),
    ("SOLVER.WARMUP_EPOCHS", "-1", "write a whole number of at least 0"),
    ("SOLVER.WARMUP_ITERS", "-10", "write a whole number of at least 0"),
    ("SOLVER.WARMUP_FACTOR", "1.1", "write a number from 0 to 1"),
    ("SOLVER.WARMUP_METHOD", "cubic", "Known: constant, exp, linear"),
    ("SOLVER.ETA_MIN_FACTOR", "2.0", "write a number from 0 to 1"),
    ("SOLVER.CHECKPOINT_PERIOD", "0", "write a whole number of at least 1"),
    ("SOLVER.IMS_PER_BATCH", "-8", "write a whole number of at least 1"),
    ("SOLVER.IMS_PER_BATCH", "30", "multiple of DATALOADER.NUM_INSTANCE"),
    ("SOLVER.AMP.DTYPE", "float16", "Known: auto, bf16, fp16"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full", "Known: norm, value"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.0", "write a number above 0"),
    # TEST
    ("TEST.EVAL_PERIOD", "-1", "write a whole number of at least 0"),
    ("TEST.IMS_PER_BATCH", "0", "write a whole number of at least 1"),
    ("TEST.METRIC", "cosin", "Did you mean 'cosine'"),
    ("TEST.RERANK.K1", "0", "write a whole number of at least 1"),
    ("TEST.RERANK.LAMBDA", "1.3", "write a number from 0 to 1"),
    ("TEST.AQE.QE_K", "-5", "write a whole number of at least 1"),
    ("TEST.FASTEVAL.SAVE_RESULTS", "csv", "Known: , npz, parquet"),
    ("TEST.FASTEVAL.BLOCK_MB", "0", "write a number above 0"),
    ("TEST.FASTEVAL.TOP_K", "-1", "write a whole number of at least 0"),
    ("TEST.FASTEVAL.DEVICE", "gpu", "write cpu, cuda"),
    ("TEST.FASTEVAL.DBA.K", "0", "write a whole number of at least 1"),
    ("SEED", "-2", "write a whole number of at least -1"),
]
OF_DINO = [
    ("DINO.OUT_DIM", "0", "write a whole number of at least 2"),
    ("DINO.STUDENT_TEMP", "0.0", "write a number above 0"),
    ("DINO.MOMENTUM", "1.5", "write a number from 0 to 1"),
    ("DINO.LOCAL_VIEWS", "-1", "write a whole number of at least 0"),
    ("DINO.LOCAL_SIZE", "[64]", r"write \[height, width\] in pixels"),
    ("DINO.LOCAL_SIZE", "[8, 8]", r"smaller than one patch of \[16, 16\]"),
    ("DINO.GLOBAL_SCALE", "[0.4, 1.2]", "0 < low <= high <= 1"),
    ("DINO.MICRO_BATCH", "-1", "write a whole number of at least 0"),
    ("DINO.MAX_BAD_IMAGES", "1.5", "write a number from 0 to 1"),
    ("SOLVER.WARMUP_EPOCHS", "999", "below SOLVER.MAX_EPOCH"),
    ("SOLVER.WARMUP_ITERS", "10", "set SOLVER.WARMUP_ITERS 0"),
]
# Several keys at a time: the first is the one that the line names.
TOGETHER = [
    (
        VIT,
        "SOLVER.WARMUP_EPOCHS 999 SOLVER.SCHED WarmupCosineLR SOLVER.WARMUP_ITERS 0",
        "less than SOLVER.MAX_EPOCH",
    ),
    (VIT, "MODEL.HEADS.NAME JPMHead MODEL.META_ARCHITECTURE Baseline", "set MODEL.META_ARCHIT"),
    (VIT, "MODEL.LOSSES.GLOBAL_WEIGHT 0.0 MODEL.LOSSES.LOCAL_WEIGHT 0.0", "nothing would be tr"),
    (VIT, "MODEL.SIE.CAMERA_DROPOUT 0.5 MODEL.SIE.UNKNOWN error", "dropout to 0"),
    (VIT, "INPUT.SIZE_TRAIN [8,8] INPUT.SIZE_TEST [8,8]", "smaller than one patch"),
    (VIT, "MODEL.BACKBONE.STRIDE_SIZE [15,15] MODEL.BACKBONE.STEM ics", "must be even"),
    (CNN, "MODEL.HEADS.CLS_LAYER AMSoftmax MODEL.HEADS.NAME EmbeddingHead", "or use BNNeckHead"),
    (CNN, "SOLVER.DELAY_EPOCHS 500 SOLVER.SCHED CosineAnnealingLR", "write a number below it"),
    (CNN, "SOLVER.ETA_MIN_LR 1.0 SOLVER.SCHED CosineAnnealingLR", "would rise; write a number"),
    (CNN, "SOLVER.MOMENTUM 0.0 SOLVER.NESTEROV True SOLVER.OPT SGD", "above 0, such as 0.9"),
    (CNN, "KD.MODEL_WEIGHTS ('a.pth',)", "give each teacher one"),
]


def one_line(config: Path, *options: str) -> str:
    """What the command line would say of a config."""
    with pytest.raises(UserError) as error:
        cfg = load_config(config, ["MODEL.DEVICE", "cpu", *options])
        validate_config(cfg)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [*OF_THE_ISSUE, *OF_THEIR_KIND],
    ids=lambda text: text[:30],
)
def test_one_line_names_key_value_and_remedy(key, value, says) -> None:
    check_line(one_line(VIT, key, value), key, value, says)


@pytest.mark.parametrize(("key", "value", "says"), OF_DINO, ids=lambda text: text[:30])
def test_one_line_of_pre_training(key, value, says) -> None:
    check_line(one_line(DINO, key, value), key, value, says)


def check_line(line: str, key: str, value: str, says: str) -> None:
    plain = value.strip("[](){},").replace("'", "").split(",")[0].split(":")[-1].strip()
    plain = {"1e999": "inf"}.get(plain, plain)
    assert key.rpartition(".")[2] in line and plain in line, line
    assert re.search(says, line), line


@pytest.mark.parametrize(("config", "options", "says"), TOGETHER, ids=lambda x: str(x)[:40])
def test_one_line_for_keys_that_do_not_go_together(config, options, says) -> None:
    line = one_line(config, *options.split())
    assert options.split()[0].rpartition(".")[2] in line, line
    assert says in line, line


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_yaml_holds_allowed_values(path) -> None:
    cfg = load_config(path, ["MODEL.DEVICE", "cpu"])
    check_config(cfg, [key for keys in declared_keys().values() for key in keys])


def test_classifiers_of_our_heads_pass() -> None:
    validate_config(load_config(VIT, ["MODEL.DEVICE", "cpu", "MODEL.HEADS.CLS_LAYER", "AMSoftmax"]))


def test_an_evaluation_leaves_out_what_only_training_reads() -> None:
    cfg = load_config(VIT, ["MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", "-0.1"])
    validate_config(cfg, eval_only=True)
    cfg.TEST.METRIC = "l2"
    with pytest.raises(UserError, match=r"TEST\.METRIC: 'l2' is unknown"):
        validate_config(cfg, eval_only=True)


def test_each_key_is_declared_once_and_has_a_meaning_and_a_valid_default() -> None:
    declared = [(package, key) for package, keys in declared_keys().items() for key in keys]
    names = [key.name for _, key in declared]
    assert len(names) == len(set(names))
    cfg = load_config()
    for package, key in declared:
        assert key.meaning and key.meaning.removesuffix("...")[-1] != ".", key.name
        value = value_of(cfg, key.name)
        assert value is not ABSENT, (package, key.name)
        if package != "fastreid":
            assert key.allowed.problem(key.name, key.default) is None
        assert key.allowed.problem(key.name, value) is None


def test_each_key_of_ours_is_declared() -> None:
    """FastReID's keys that no run reads need no declaration: those of FocalLoss."""
    declared = {key.name for keys in declared_keys().values() for key in keys}
    assert {name for name in leaves(load_config()) if name not in declared} == {
        "MODEL.LOSSES.FL.ALPHA",
        "MODEL.LOSSES.FL.GAMMA",
        "MODEL.LOSSES.FL.SCALE",
    }


def leaves(node, prefix: str = ""):
    for name, value in node.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_defaults_are_not_shared_and_absent_keys_not_checked() -> None:
    keys = [Key("A.B.LIST", [], TEXT, "m"), Key("A.N", 1, whole(1), "m")]
    first, second = load_config(), load_config()
    add_keys(first, keys)
    add_keys(second, keys)
    first.A.B.LIST.append(1)
    assert second.A.B.LIST == []
    seen = []
    rules = [Rule(("A.N",), lambda cfg: seen.append(cfg.A.N)), Rule(("A.X",), lambda cfg: "no")]
    check_config(first, keys[1:], rules)
    assert seen == [1]
    check_config(load_config(), keys, rules)
    assert seen == [1]


@pytest.mark.parametrize(("key", "value", "says"), OF_THE_ISSUE[:1] + OF_THE_ISSUE[3:5])
def test_the_command_line_says_it_before_a_data_set_is_opened(key, value, says, tmp_path) -> None:
    line = [ROOT / "tools/train_net.py", "--config-file", VIT]
    options = [key, value, "OUTPUT_DIR", str(tmp_path / "logs"), "MODEL.DEVICE", "cpu"]
    absent = {"FASTREID_DATASETS": str(tmp_path / "absent")}
    done = python_forks.run(*line, *options, environment=absent)
    assert done.returncode == 2
    (said,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert key in said and re.search(says, said)
    assert "Traceback" not in done.stderr and not (tmp_path / "absent").exists()


def test_a_project_adds_names_of_its_own(monkeypatch) -> None:
    monkeypatch.setattr(projects, "PROJECTS", dict(projects.PROJECTS))
    known = {key: list(names) for key, names in fastreid_keys.NAMES.items()}
    monkeypatch.setattr(fastreid_keys, "NAMES", known)
    own = {"MODEL.LOSSES.NAME": "CenterLoss", "MODEL.HEADS.CLS_LAYER": "SubCenterArcSoftmax"}
    keys = [key for key in fastreid_keys.KEYS if key.name in own]
    values = {"MODEL.LOSSES.NAME": ("CenterLoss",), "MODEL.HEADS.CLS_LAYER": "SubCenterArcSoftmax"}
    assert all(key.allowed.problem(key.name, values[key.name]) for key in keys)
    register_project(Project("stripes", names={key: [name] for key, name in own.items()}))
    assert not any(key.allowed.problem(key.name, values[key.name]) for key in keys)
    with pytest.raises(UserError, match=r"'MODEL\.HEADS\.NAME' is unknown.* MODEL\.LOSSES"):
        register_project(Project("other", names={"MODEL.HEADS.NAME": ["MyHead"]}))
