"""The files of hostile.py: each is written into the current folder and opened as a user would."""

import io
import json
import os
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from functools import cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io
import torch

import wingmark.run
from wingmark import export, protocol, schema
from wingmark.cli import main
from wingmark.data.regions import _Cache
from wingmark.data.sources import COFW, AFLWSqlite, CSVFaces
from wingmark.data.sources.matlab import mat_file
from wingmark.evaluation import Predictions
from wingmark.infer import Landmarker
from wingmark.study import Study

SOURCE = {"class_path": "wingmark.data.sources.SyntheticFaces", "init_args": {"train": 4, "val": 2, "test": 2}}
MODEL = {
    "network": {"class_path": "wingmark.networks.TimmNetwork", "init_args": {"model": "test_resnet"}},
    "codec": {"class_path": "wingmark.codecs.Coordinates"},
    "loss": {"class_path": "wingmark.losses.WingLoss", "init_args": {"w": 10.0}},
}
ABOUT = {
    "format": 1,
    "model": MODEL,
    "schema": schema.get("ibug68").to_dict(),
    "protocol": protocol.get("synthetic/inter-ocular/v1").to_dict(),
    "crop_size": 32,
}
HEATMAPS = {
    "network": {
        "class_path": "wingmark.networks.FeatureNetwork",
        "init_args": {"backbone": "test_resnet", "head": {"class_path": "wingmark.networks.HeatmapHead"}},
    },
    "codec": {"class_path": "wingmark.codecs.Heatmap", "init_args": {"decoder": {"class_path": "evil.Decoder"}}},
    "loss": {"class_path": "wingmark.losses.MSELoss"},
}
# A module that runs code as soon as it is imported, with classes that fit everywhere.
EVIL = """
open("ran", "w").close()
from wingmark.codecs import Coordinates as Codec, Taylor as Decoder
from wingmark.losses import WingLoss as Loss
from wingmark.networks import HeatmapHead as Head, TimmNetwork as Network
from torch.optim import SGD as optimizer
"""


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.system, ("touch ran",)


class Case(NamedTuple):
    """A file, how it is opened, and whether what is hostile in it is passed over instead of refused."""

    name: str
    attempt: Callable[[], Any]
    passed_over: bool = False


def checkpoint(**changes: Any) -> dict[str, Any]:
    """A sound checkpoint of an untrained model, with some of its keys changed."""
    return {"state_dict": untrained(), "pytorch-lightning_version": "2.6.6", "wingmark": ABOUT, **changes}


@cache
def untrained() -> dict[str, torch.Tensor]:
    return wingmark.run.build_model(ABOUT).state_dict()


def load(content: Any, **options: Any) -> Any:
    """Write a checkpoint and load it."""
    torch.save(content, "x.ckpt", **options)
    return wingmark.run.load("x.ckpt")


def naming(**parts: Any) -> Any:
    """Load a checkpoint whose config has other parts; a string is the path of a class."""
    given = {key: {"class_path": part} if isinstance(part, str) else part for key, part in parts.items()}
    return load(checkpoint(wingmark={**ABOUT, "model": {**MODEL, **given}}))


def command(*arguments: str, content: Any = None) -> Any:
    """A command on a recipe, with that checkpoint as x.ckpt."""
    data = {"source": SOURCE, "protocol": "synthetic/inter-ocular/v1", "crop_size": 32, "num_workers": 0}
    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "fast_dev_run": True}
    Path("recipe.yaml").write_text(json.dumps({"trainer": trainer, "model": MODEL, "data": data}))
    torch.save(content, "x.ckpt")
    return main([arguments[0], "--config", "recipe.yaml", *arguments[1:]])


def tag(path: str, text: str) -> Path:
    """A YAML file whose tag runs a command."""
    Path(path).write_text(f'{text} !!python/object/apply:os.system ["touch ran"]\n')
    return Path(path)


def fit_with_tag(option: str, text: str = "") -> Any:
    return command("fit", option, str(tag("x.yaml", text)))


def resume(subcommand: str, content: Any) -> Any:
    return command(subcommand, "--ckpt_path", "x.ckpt", content=content)


def deletes_files() -> Any:
    """Lightning deletes the checkpoints that a resumed training replaces: these are none of ours."""
    Path("victim").write_text("precious")
    path = f"{os.getcwd()}/runs/a/checkpoints/../../../victim"
    state = {"best_model_path": path, "kth_best_model_path": path, "best_k_models": {path: torch.tensor(1.0)}}
    name = "BestCheckpoint{'monitor': 'val/nme', 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1}"
    try:
        return resume("fit", checkpoint(callbacks={name: state}))
    finally:
        if not Path("victim").is_file():
            Path("ran").touch()


def starting_weights() -> Any:
    path = bare_pickle("x.pth")
    return naming(network=timm(pretrained=True, weights=path, options={"checkpoint_path": path}))


def unpickled() -> Any:
    torch.save(checkpoint(callbacks=Payload()), "x.ckpt")
    return torch.load("x.ckpt", weights_only=False)


def trusted() -> Any:
    os.environ["WINGMARK_TRUST"] = "other, evil"
    return naming(loss="evil.Loss")


def cyclic() -> Any:
    options: dict[str, Any] = {}
    options["options"] = options
    return naming(network=timm(options=options))


def weights(change: Callable[[torch.Tensor], torch.Tensor], **more: torch.Tensor) -> Any:
    """Load a checkpoint with other weights."""
    return load(checkpoint(state_dict={name: change(value) for name, value in untrained().items()} | more))


def forced() -> Any:
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    return load(checkpoint(callbacks=Payload()))


def compressed() -> Any:
    """A gigabyte of zeros in a checkpoint of a megabyte."""
    with zipfile.ZipFile("x.ckpt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(16):
            archive.writestr(f"x/data/{number}", bytes(2**26))
    return wingmark.run.load("x.ckpt")


def bare_pickle(path: str) -> str:
    Path(path).write_bytes(pickle.dumps(Payload()))
    return path


def predictions(**arrays: Any) -> Any:
    found = {"id": np.array(["a"]), "landmarks_image": np.zeros((1, 5, 2)), "target": np.arange(10.0).reshape(1, 5, 2)}
    np.savez("x.npz", **{**found, **arrays})
    return Predictions.load(Path("x.npz"), protocol.get("synthetic/inter-ocular/v1"), schema.get("five"))


def packed(member: str, content: bytes, times: int = 1) -> Any:
    """Read predictions from an archive with that content, again and again."""
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(times):
            archive.writestr(member.format(number), content)
    return Predictions.load(Path("x.npz"))


def lying_header() -> bytes:
    """An array of 8 TB, of which one number is there."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    return buffer.getvalue() + bytes(8)


def objects_in_cache() -> Any:
    Path("cache").mkdir()
    np.savez("cache/index.npz", shapes=np.array([Payload()], object), to_image=np.zeros((1, 2, 3)))
    return _Cache(Path("cache"), 1)


def safetensors(header: bytes, length: int | None = None) -> Any:
    Path("x.safetensors").write_bytes((length or len(header)).to_bytes(8, "little") + header)
    return Landmarker.load("x.safetensors")


def safetensors_naming() -> Any:
    told = {**ABOUT, "model": {**MODEL, "loss": SHELL}}
    metadata = {"wingmark": json.dumps({"format": export.FORMAT}), "wingmark_checkpoint": json.dumps(told)}
    return safetensors(json.dumps({"__metadata__": metadata}).encode())


def outside(name: str) -> Any:
    """Read annotations in `set` that name an image which is there, but not in that folder."""
    Path("set").mkdir()
    Path("x.png").touch()
    Path("set/faces.csv").write_text(f"image,0,1,2,3,4,5,6,7,8,9\n{name},1,1,3,1,2,2,1,3,3,3\n")
    return CSVFaces("set", "faces.csv", "five").faces("train")


def deep(name: str) -> Path:
    Path(name).write_text("name: " + "[" * 3000)
    return Path(name)


def nested() -> Any:
    """A MATLAB file of 9 KB: structs 300 deep around 8 MB, which readers copy at each level."""
    content = reduce(lambda inner, _: {"x": inner}, range(300), np.zeros(2**23, np.uint8))
    scipy.io.savemat("x.mat", content, do_compression=True)
    return mat_file(Path("x.mat"))


def endless(levels: int = 40) -> Any:
    """A file of some kilobytes: each list holds the one before twice, a million million values if written out."""
    return reduce(lambda inner, _: [inner, inner], range(levels), "a")


def view() -> Any:
    """A database of 8 KB whose images are 20,000 rows that are made when they are asked for."""
    Path("flickr/0").mkdir(parents=True)
    with closing(sqlite3.connect("aflw.sqlite")) as database:
        database.executescript("""
            CREATE TABLE Faces(face_id, file_id); CREATE TABLE FaceRect(face_id, x, y, w, h);
            CREATE TABLE FeatureCoords(face_id, feature_id, x, y);
            CREATE VIEW FaceImages AS WITH RECURSIVE c(file_id) AS (SELECT 1 UNION ALL SELECT file_id + 1 FROM c)
            SELECT file_id, hex(zeroblob(400000)) AS filepath FROM c LIMIT 20000;
        """)
    return AFLWSqlite(".").faces("train")


def one_object_many_times() -> Any:
    """A MATLAB 7.3 file of 1.5 MB: an array of 3,000 elements that are all the same 1.5 MB."""
    with h5py.File("COFW_train.mat", "w") as file:
        file["IsTr"], file["bboxesTr"] = np.zeros((1, 4)), np.zeros((4, 4))
        array = file.create_dataset("phisTr", 3000, dtype=h5py.vlen_dtype(np.uint8))
        array[0], array[1] = np.ones(1_500_000, np.uint8), np.ones(3, np.uint8)
        start = array.id.get_offset()
    content = bytearray(Path("COFW_train.mat").read_bytes())
    content[start : start + 16 * 3000] = 3000 * content[start : start + 16]
    Path("COFW_train.mat").write_bytes(content)
    return COFW(".").faces("train")


SHELL = {"class_path": "os.system", "init_args": {"command": "touch ran"}}
POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "ran"]}}
EVAL = {"class_path": "builtins.eval", "init_args": {"source": "open('ran', 'w')"}}
HYPER = {"_instantiator": "evil.Network", "_class_path": "evil.Network", "network": {"class_path": "evil.Network"}}


def timm(**options: Any) -> dict[str, Any]:
    return {"class_path": "wingmark.networks.TimmNetwork", "init_args": {"model": "test_resnet", **options}}


CASES = [
    Case("checkpoint: pickle instead of weights", lambda: load(checkpoint(state_dict={"a": Payload()}))),
    Case("checkpoint: pickle in an old format", lambda: load(Payload(), _use_new_zipfile_serialization=False)),
    Case("checkpoint: bare pickle", lambda: wingmark.run.load(bare_pickle("x.ckpt"))),
    Case("checkpoint: pickle, torch told to load all", forced),
    Case("checkpoint: a gigabyte of zeros, compressed", compressed),
    Case("checkpoint: network os.system", lambda: naming(network=SHELL)),
    Case("checkpoint: loss subprocess.Popen", lambda: naming(loss=POPEN)),
    Case("checkpoint: codec builtins.eval", lambda: naming(codec=EVAL)),
    Case("checkpoint: optimizer os.system", lambda: naming(optimizer=SHELL)),
    Case("checkpoint: network of a foreign module", lambda: naming(network={**timm(), "class_path": "evil.Network"})),
    Case("checkpoint: loss of a foreign module", lambda: naming(loss="evil.Loss")),
    Case("checkpoint: decoder of a foreign module", lambda: naming(**HEATMAPS)),
    Case("checkpoint: module named like ours", lambda: naming(loss="wingmark_evil.Loss")),
    Case("checkpoint: os.system through our module", lambda: naming(loss="wingmark.files.os.system")),
    Case("checkpoint: function instead of a class", lambda: naming(loss="wingmark.files.whole_file")),
    Case("checkpoint: class of ours that does not fit", lambda: naming(loss=timm())),
    Case("checkpoint: string instead of a class", lambda: naming(loss={"class_path": ["evil.Loss"]})),
    Case("checkpoint: class among plain options", lambda: naming(network=timm(options={"act_layer": SHELL}))),
    Case("checkpoint: model from a server", lambda: naming(network=timm(model="hf-hub:evil/model"))),
    Case("checkpoint: model from a folder", lambda: naming(network=timm(model="local-dir:../.."))),
    Case("checkpoint: starting weights with a pickle", starting_weights, passed_over=True),
    Case("checkpoint: config that contains itself", cyclic),
    Case("checkpoint: lists without an end", lambda: naming(network=timm(options={"x": endless()}))),
    Case("checkpoint: crops of 20,000 px", lambda: load(checkpoint(wingmark={**ABOUT, "crop_size": 20000}))),
    Case("checkpoint: weights of another type", lambda: weights(torch.Tensor.long)),
    Case("checkpoint: weights of another shape", lambda: weights(torch.Tensor.flatten)),
    Case("checkpoint: weights missing", lambda: load(checkpoint(state_dict={}))),
    Case("checkpoint: weights too many", lambda: weights(torch.Tensor.clone, more=torch.zeros(1))),
    Case("test --ckpt_path: pickle", lambda: resume("test", Payload())),
    Case("fit --ckpt_path: pickle among callbacks", lambda: resume("fit", checkpoint(callbacks=Payload()))),
    Case("fit --ckpt_path: deletes files elsewhere", deletes_files),
    Case("test --ckpt_path: address of a server", lambda: command("test", "--ckpt_path", "http://127.0.0.1:9/x.ckpt")),
    Case("test --ckpt_path: hyper_parameters", lambda: resume("test", checkpoint(hyper_parameters=HYPER)), True),
    Case("recipe: YAML tag", lambda: fit_with_tag("--config", "model:")),
    Case("source fragment: YAML tag", lambda: fit_with_tag("--data.source")),
    Case("loss fragment: YAML tag", lambda: fit_with_tag("--model.loss")),
    Case("protocol: YAML tag", lambda: fit_with_tag("--data.protocol", "name:")),
    Case("schema: YAML tag", lambda: schema.get(str(tag("x.yaml", "name:")))),
    Case("study: YAML tag", lambda: Study.load(tag("x.yaml", "recipe: a.yaml\nseeds:"), Path("runs"))),
    Case("config.yaml of a run: YAML tag", lambda: wingmark.run.load_data(tag("config.yaml", "data:").parent)),
    Case("predictions: objects", lambda: predictions(tags=np.array([Payload()], object))),
    Case("predictions: bare pickle", lambda: Predictions.load(Path(bare_pickle("x.npz")))),
    Case("predictions: 2.5 GiB of zeros", lambda: packed("a{}.npy", bytes(2**26), 40)),
    Case("predictions: header that lies", lambda: packed("id.npy", lying_header())),
    Case("predictions: member that is no array", lambda: packed("id", b"touch ran")),
    Case("predictions: member outside the folder", lambda: predictions(**{"../ran": np.zeros(1)}), passed_over=True),
    Case("predictions: JSON nested too deeply", lambda: predictions(protocol="[" * 100000)),
    Case("cache: objects", objects_in_cache),
    Case("safetensors: huge header", lambda: safetensors(b"{}", 2**62)),
    Case("safetensors: os.system", safetensors_naming),
    Case("torch.export: pickle", lambda: Landmarker.load(bare_pickle("x.pt2"))),
    Case("annotations: image above the folder", lambda: outside("../x.png")),
    Case("annotations: image anywhere", lambda: outside(f"{os.getcwd()}/x.png")),
    Case("MATLAB: nested 300 deep", nested),
    Case("MATLAB 7.3: one object 3,000 times", one_object_many_times),
    Case("database: rows made when asked for", view),
    Case("protocol: nested too deeply", lambda: protocol.get(str(deep("x.yaml")))),
    Case("schema: nested too deeply", lambda: schema.get(str(deep("x.yaml")))),
]
# No harm is done in the first three, and the payload runs in the others: the rest would show nothing otherwise.
OTHERS = [
    Case("sound checkpoint", lambda: load(checkpoint())),
    Case("sound checkpoint of a training", lambda: resume("test", checkpoint())),
    Case("sound predictions", predictions),
    Case("pickle that wingmark does not open", unpickled),
    Case("module that is trusted", trusted),  # it is imported, and then names a class of ours
]
