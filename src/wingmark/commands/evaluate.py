"""Compute every score again from a file of predictions and true landmarks, no model needed.

The file is the predictions.npz of a run, or what any other method wrote: an .npz with the arrays id, landmarks_image
and target, or a .csv with the columns id,x0,y0,...,true_x0,true_y0,... in pixels of the images, counted from 0.
"""

import argparse
from pathlib import Path

import wingmark.protocol
import wingmark.schema
from wingmark.evaluation import Predictions, Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--predictions", type=Path, required=True, metavar="FILE", help=".npz or .csv")
    parser.add_argument("--protocol", metavar="NAME", help="built in or a YAML file; default: the file's own")
    parser.add_argument("--schema", metavar="NAME", help="built in or a YAML file; default: by number of landmarks")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: evaluation/PROTOCOL beside the file")


def run(arguments: argparse.Namespace) -> Report:
    """Print the table and write metrics.json, faces.csv and pictures."""
    protocol = wingmark.protocol.get(arguments.protocol) if arguments.protocol else None
    schema = wingmark.schema.get(arguments.schema) if arguments.schema else None
    predictions = Predictions.load(arguments.predictions, protocol, schema)
    report = Report.of(predictions)
    name = predictions.protocol.name.replace("/", "_")
    folder = arguments.output or arguments.predictions.parent / "evaluation" / name
    report.write(folder, {"predictions": str(arguments.predictions)})
    report.print("evaluate")
    print(f"{folder}: metrics.json, faces.csv, pictures/")
    return report
