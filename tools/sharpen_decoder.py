"""Teach a demo generator's last layers to give pictures as much detail as real ones have.

    python -m gpu_lipsync.tools.sharpen_decoder --material material.pt --start demo.safetensors --out finer.safetensors

Where L1 is the judge, what cannot be foretold is best left out: a finished generator's mouths had 0.72 of the detail of
those drawn (root mean square of what is finer than a few pixels). How much of it there is can be foretold, though, from
place to place: one loss more asks for as much, wherever its lines may lie. Only what works at full size learns, the
decoder's last block and the output block, with batch norm as it is: what the mouth does was decided before them. Six
minutes on one core. Writes averaged weights, as train_demo does. Seeded.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools.demo_batches import Batch, BatchMaker
from gpu_lipsync.tools.demo_learner import lacking_detail, pixel_weights, unlikeness
from gpu_lipsync.tools.generator_file import start_from

LAST_LAYERS = ("face_decoder_blocks.6.", "output_block.")
SILENT_WEIGHT = 10.0  # of a window of silence in likeness
EMA_EVERY = 5


def _loss(out: Tensor, batch: Batch, detail_weight: float) -> Tensor:
    silent = batch.silent[:, None, None, None]
    unlike = unlikeness(out, batch.faces, pixel_weights(batch) * torch.where(silent, SILENT_WEIGHT, 1.0))
    return unlike["l1"] + unlike["edges"] + detail_weight * lacking_detail(out, batch)


def sharpen(generator: Wav2Lip, maker: BatchMaker, arguments: argparse.Namespace) -> dict[str, Tensor]:
    """The last layers, trained: their tensors by their names in the generator, averaged."""
    generator.eval()
    generator.requires_grad_(False)
    learning: dict[str, nn.Parameter] = {
        name: parameter for name, parameter in generator.named_parameters() if name.startswith(LAST_LAYERS)
    }
    for parameter in learning.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learning.values(), arguments.learning_rate, betas=(0.9, 0.99), weight_decay=0)
    average = {name: parameter.detach().clone() for name, parameter in learning.items()}
    for step in tqdm(range(arguments.steps), mininterval=5, disable=arguments.quiet):
        left = (arguments.steps - step) / arguments.steps
        for group in optimizer.param_groups:
            group["lr"] = arguments.learning_rate * min(1.0, (step + 1) / 20, 1.3 * left)
        maker.seed(arguments.seed * 1_000_003 + step)
        batch = maker.batch(arguments.batch)
        loss = _loss(generator(batch.mel, batch.faces, batch.reference).float(), batch, arguments.detail_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % EMA_EVERY == EMA_EVERY - 1:
            keep = min(0.97, 1 - 10 / (step + 20))
            for name, parameter in learning.items():
                average[name].lerp_(parameter.detach(), 1 - keep)
    return average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True, help="what demo_material wrote")
    parser.add_argument("--start", type=Path, required=True, help="the generator to go on from")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--detail-weight", type=float, default=8.0, help="of the detail that is lacking, beside L1")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    generator = Wav2Lip(arguments.width).to(device)
    start_from(generator, arguments.start)
    maker = BatchMaker(torch.load(arguments.material, weights_only=True), device=device)
    learnt = sharpen(generator, maker, arguments)
    weights = load_file(arguments.start)
    save_file({name: learnt.get(name, w).to("cpu", w.dtype).contiguous() for name, w in weights.items()}, arguments.out)


if __name__ == "__main__":
    main()
