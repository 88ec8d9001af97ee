"""ONNX files whose convolutions and matrix products compute in 8 bits."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

LAYERS = ("Conv", "Gemm", "MatMul")


def quantize(source: Path, target: Path, inputs: Iterable[tuple[Tensor, ...]]) -> None:
    """Write `target`, the ONNX file `source` with its layers quantized statically, per channel (QDQ).

    inputs: of the graph, from which the ranges of activations are taken. Decoding and mapping stay in float32, and so
    does the last layer of each stage: a coordinate in 8 bits would be a multiple of one pixel or so.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, names: list[str]) -> None:
            self.batches = (dict(zip(names, (tensor.numpy() for tensor in batch), strict=True)) for batch in inputs)

        def get_next(self) -> dict | None:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        # Folds batch norms into convolutions, whose weights are then rounded once.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        quantize_static(
            prepared,
            target,
            Reader([value.name for value in graph.input]),
            op_types_to_quantize=LAYERS,
            nodes_to_exclude=last_layers(graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Sums of products of 8 bits overflow 16 on processors without VNNI; of 7 bits they do not.
            reduce_range=True,
        )
    model = onnx.load(target)
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load(source).metadata_props)
    onnx.save(model, target)


def last_layers(graph) -> list[str]:
    """Names of the layers of an ONNX graph whose result no other layer reads, unless in crops cut anew."""
    readers: dict[str, list] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    leads_to_layer: dict[str, bool] = {}
    for node in reversed(graph.node):  # nodes come in the order in which they are computed
        after = [reader for name in node.output for reader in readers.get(name, ())]
        leads_to_layer[node.name] = any(
            reader.op_type in LAYERS or (reader.op_type != "GridSample" and leads_to_layer[reader.name])
            for reader in after
        )
    return [node.name for node in graph.node if node.op_type in LAYERS and not leads_to_layer[node.name]]
