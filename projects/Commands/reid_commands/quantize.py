"""Write an int8 file of a model, if it is not less accurate than float32 by more than a margin.

transreid quantize logs/run --calibration Market1501 --validate Market1501 -o reid.int8.onnx
transreid quantize model.onnx --calibration photos/ --validate CSVReID:shop.csv --margin 1

MODEL is a folder of transreid publish, USER/NAME on the Hugging Face hub, a run's folder, a
checkpoint beside its config.yaml (or with --config-file), or a float32 .onnx file of transreid
export, whose profile the int8 file keeps. The ranges of activations are measured on training images
of --calibration, mAP and TPR on query and gallery of --validate, paired with float32, in each
--backend. If a measure may be lower by more than --margin (one-sided 95%), the layers that suffer
most go back to float32; if that does not help either, nothing is written and the exit status is 1.
OUT.report.md and .json have the table in both cases. Interrupted, the same command resumes.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from fastreid_compat.repairs.distributed.launch import num_cores
from reid_common.digests import file_digest
from reid_common.errors import UserError
from reid_common.files import read_json, write_json
from reid_common.timing import Comparison
from reid_core.config import load_config
from reid_core.run.command_line import add_config_arguments, command_parser, positive
from transreid.deploy.trained import export_trained
from transreid.inference.backends.backend import (
    BACKENDS,
    ONNX_RUNTIME,
    OPENVINO,
    Backend,
    installed,
)
from transreid.inference.sources import graph_source
from transreid.quantize.images import calibration_images, validation_images
from transreid.quantize.job import Job, Outcome, Recipe
from transreid.quantize.report import measured_speed, write_report
from transreid.quantize.running import check_request, note_fastest, quantise

from .arguments import share
from .command import command
from .studies.compared_models import Model, find_model

FLOAT32 = "float32.onnx"
INT8 = (ONNX_RUNTIME, OPENVINO)  # what runs int8 files


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = command_parser(__doc__)
    add = lines.add_argument
    add("model", metavar="MODEL", help="folder, USER/NAME, checkpoint or .onnx")
    calibration = "training images whose ranges count: data set, folder or list"
    add("--calibration", required=True, metavar="DATASET", help=calibration)
    add("--validate", required=True, metavar="DATASET", help="test set, as in DATASETS.TESTS")
    add("-o", "--out", type=Path, metavar="ONNX", help="file to write (NAME.int8.onnx)")
    margin = "percent points by which mAP and TPR may be lower (%(default)s)"
    add("--margin", type=float, default=0.5, metavar="POINTS", help=margin)
    add("--far", type=float, default=1e-3, help="false accept rate of the TPR (%(default)s)")
    number = "calibration images, evenly spread (%(default)s)"
    add("--calibration-images", type=positive, default=256, metavar="N", help=number)
    kept = "greatest share of the layers, 0..1, that may stay in float32 (%(default)s)"
    add("--most-kept", type=share, default=0.5, metavar="SHARE", help=kept)
    add("--per-tensor", action="store_true", help="one scale for all channels of a weight")
    add("--no-smoothing", action="store_true", help="leave outliers where they are")
    add("--global-only", action="store_true", help="leave out the parts of JPM: 5 times shorter")
    validated = f"what it must hold with, {' or '.join(INT8)} (all that is installed)"
    add("--backend", nargs="+", choices=INT8, metavar="NAME", help=validated)
    add("--batch-size", type=positive, default=16, metavar="N", help="(16)")
    workers = "processes that read images; 0: none (one per core, at most 8)"
    add("--num-workers", type=int, default=min(8, num_cores()), metavar="N", help=workers)
    add("--rounds", type=int, default=3, metavar="N", help="measurements of the speed; 0: none (3)")
    add_config_arguments(lines)
    return lines


def job_of(args: argparse.Namespace) -> tuple[Job, Model | None]:
    """The job of a command line, and the trained model; None of an .onnx file."""
    name = Path(args.model).name.removesuffix(".onnx").removesuffix(".pth")
    out = args.out or Path(f"{name}.int8.onnx")
    recipe = Recipe(not args.per_tensor, not args.no_smoothing, args.most_kept)
    check_request(out, args.margin / 100, args.far)
    backends = tuple(args.backend or filter(installed, INT8))
    for backend in backends:
        if not installed(backend):
            raise UserError(f"--backend {backend} is not installed: pip install {backend}")
    calibration_images(args.calibration, 1, ())  # what is missing is found before the export
    validation_images(args.validate, ())
    model, file = None, Path(args.model)
    if file.suffix == ".onnx":
        if args.config_file or args.opts or args.global_only:
            raise UserError(f"{args.model!r} is as it was exported: it takes no config and options")
    else:
        model = Model(args.model, args.config_file, args.model) if args.config_file else None
        model = model or find_model(args.model)
        file = _exported(model, out.with_name(f"{out.name}.parts"), args)
    source = graph_source(str(file), any_profile=True)
    cfg = load_config(model.config, args.opts) if model else None
    read = calibration_images(args.calibration, args.calibration_images, source.cameras, cfg)
    tested = validation_images(args.validate, source.cameras, cfg)
    numbers = (args.margin / 100, args.far, (args.calibration, args.validate), recipe)
    sizes = (args.batch_size, args.num_workers, backends)
    return Job(file, out, read, tested, *numbers, *sizes), model


def _exported(model: Model, folder: Path, args: argparse.Namespace) -> Path:
    """The float32 graph of a trained model, in the folder of what takes long."""
    file, record = folder / FLOAT32, folder / "exported.json"
    about = {"weights_sha256": file_digest(model.weights), "options": list(args.opts)}
    about |= {"global_only": args.global_only, "config": file_digest(model.config)}
    if not file.exists() or not record.exists() or read_json(record) != about:
        export_trained(file, model.config, model.weights, args.opts, global_only=args.global_only)
        write_json(record, about)
    return file


def speed_of(
    job: Job, outcome: Outcome, model: Model | None, args: argparse.Namespace
) -> Comparison:
    """Time float32, and the accepted, or the last, int8 graph with each of its backends."""
    contenders: dict[str, Backend] = {}
    if model is not None:
        options = [*args.opts, "MODEL.DEVICE", "cpu"]
        if args.global_only:
            options += ["MODEL.JPM.GLOBAL_ONLY", "True"]
        contenders["float32, PyTorch"] = model.extractor(options).computes
    contenders["float32, ONNX Runtime"] = graph_source(str(job.model), any_profile=True).compute
    for backend in job.backends:
        source = graph_source(str(job.int8(outcome)), backend, any_profile=True)
        contenders[int8_by(backend)] = source.compute
    return measured_speed(contenders, source.image_size, job.batch_size, args.rounds)


def int8_by(backend: str) -> str:
    """Name of an int8 graph in the table of speed."""
    return f"int8, {BACKENDS[backend]}"


@command(parser, resumes=True)
def main(args: argparse.Namespace) -> int:
    """Run the command line."""
    if args.rounds < 0 or args.num_workers < 0:
        raise UserError(f"--rounds {args.rounds}, --num-workers {args.num_workers}: give 0 or more")
    job, model = job_of(args)
    outcome = quantise(job)
    speed = speed_of(job, outcome, model, args) if args.rounds else None
    text, file = write_report(job, outcome, speed)
    print(text)
    if outcome.accepted:
        if speed:
            note_fastest(job, sorted(job.backends, key=lambda name: -speed.ratio(int8_by(name))))
        shutil.rmtree(job.folder)
        print(f"wrote {job.out} and {file}")
        return 0
    print(f"refused: wrote {file} alone; {job.folder} is kept for another try")
    return 1
