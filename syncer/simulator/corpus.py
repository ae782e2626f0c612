"""What a marketing team made in one year, invented from a seed.

The same seed, count and end date give the same images: ids, prompts, models, parameters, times and bytes. The
variety is the documentation's own: groups of one to four images, upscales without a prompt that name their
parents in every documented shape, seeds beyond 64 bits, several creators. It knows nothing of HTTP.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .pictures import LOOKS, Picture

BRAND = "7d1f0b52-6c1e-4c58-9f0a-3b5a1e7c2d10"
SOCIAL = "c24be7a9-15d3-4b6e-8a77-90e2f4d6b831"
CLOSED = "e90a3c44-2f6b-4d19-b1c8-5d7e6f8091a2"  # exists, and is not for these credentials
NAMES = {BRAND: "Brand Campaigns", SOCIAL: "Social Studio", CLOSED: "Board Only"}

ME = "usr_8f31c0"  # the user that the credentials act for
_TEAM = (ME, "usr_2b97d4", "usr_5ac812", "usr_e06f39")

UPSCALER = "clarity-upscale-4x"
_MODELS = ("flux-1.1-pro", "imagen-4", "gpt-image-1", "neuroflash-studio-2")


def _model(order: int, name: str, provider: str, *capabilities: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name.replace("-", " ").title(),
        "provider": provider,
        "description": f"{' and '.join(capabilities).capitalize()} by {provider}",
        "capabilities": list(capabilities),
        "maxImages": 4 if "text-to-image" in capabilities else 1,
        "aspectRatios": ["1:1", "4:3", "3:4", "16:9", "9:16"],
        "outputFormats": ["png", "jpeg", "webp"],
        "allowed": True,
        "order": order,
    }


MODELS = (
    _model(1, "flux-1.1-pro", "Black Forest Labs", "text-to-image"),
    _model(2, "imagen-4", "Google", "text-to-image"),
    _model(3, "gpt-image-1", "OpenAI", "text-to-image", "image-to-image"),
    _model(4, "neuroflash-studio-2", "neuroflash", "text-to-image", "image-to-image"),
    _model(5, UPSCALER, "Clarity", "upscale"),
)

_SUBJECTS = (
    "a barista pouring oat milk into a glass of cold brew",
    "two friends laughing on a cargo bike in an autumn city",
    "a linen tote bag with sunflowers on a wooden bench",
    "our reusable bottle on a mossy rock beside a waterfall",
    "a young founder presenting to a small, attentive team",
    "running shoes in mid-air above a wet street",
    "a skincare set on terrazzo with long leaf shadows",
    "a family breakfast table with homemade granola",
    "an open laptop with a calm dashboard beside a cup of tea",
    "hands wrapping a present in recycled paper",
    "a rooftop garden with string lights at dusk",
    "a paper-cut city skyline with drifting clouds",
    "ein gemütliches Café an einem Regentag",
    "Wanderer über dem Nebelmeer, modern, mit Rucksack",
)
_OCCASIONS = (
    "hero image for the spring launch",
    "carousel slide 2 of 5",
    "newsletter header",
    "Black Friday teaser, plenty of room for text",
    "LinkedIn banner",
    "story background",
    "landing page, above the fold",
    "Herbstkampagne, Querformat",
)
_LIGHTS = (
    "soft morning light",
    "golden hour, gentle lens flare",
    "studio light on a pastel background",
    "overcast, muted colours",
    "bold flat colours, geometric",
    "shot on 35 mm, shallow depth of field",
)
_STYLES = ("photographic", "illustration", "3d-render", "flat-design", "watercolour")


@dataclass(frozen=True, slots=True)
class Invented:
    """One image of the corpus: the workspace it belongs to, its document (without a content link), its picture."""

    workspace: str
    document: dict[str, Any]
    picture: Picture


def timestamp(time: datetime) -> str:
    """Write a time as the documentation shows them."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def invent(images: int, *, seed: int, until: datetime) -> Iterator[Invented]:
    """Invent the images of the year before `until`, the oldest first, two thirds of them in the brand workspace."""
    chance = random.Random(seed)  # noqa: S311 - pictures to play with, not secrets
    made: list[Invented] = []
    while len(made) < images:
        workspace = BRAND if not made or chance.random() < 0.66 else SOCIAL
        born = until - timedelta(days=365) * (1 - (len(made) + 1) / (images + 2))
        parents = [image for image in made[-12:] if image.workspace == workspace]
        if parents and chance.random() < 0.14:
            group = [_upscale(chance, len(made), chance.choice(parents), born)]
        else:
            count = min(chance.choice((1, 1, 2, 3, 4, 4)), images - len(made))
            group = _generation(chance, len(made), workspace, born, count)
        made += group
        yield from group


def fresh(chance: random.Random, number: int, workspace: str, born: datetime) -> Invented:
    """Invent one more image, made just now."""
    return _generation(chance, number, workspace, born, 1)[0]


def _generation(chance: random.Random, number: int, workspace: str, born: datetime, count: int) -> list[Invented]:
    """One request for images: one prompt and model, born within the same second or two."""
    shared: dict[str, Any] = {
        "generationId": f"gen_{_uuid(chance).hex[:20]}",
        "createdByUserId": chance.choice(_TEAM),
        "prompt": f"{chance.choice(_SUBJECTS)}, {chance.choice(_LIGHTS)}, {chance.choice(_OCCASIONS)}",
        "model": chance.choice(_MODELS),
        "inputImageIds": chance.choice((None, [])),
    }
    style, bits = chance.choice(_STYLES), chance.choice((31, 48, 80))
    return [
        _image(
            chance, number + step, workspace, born + timedelta(seconds=step // 2), shared,
            {"style": style, "seed": chance.getrandbits(bits), "guidance": chance.choice((3.5, 5, 7.5))},
        )
        for step in range(count)
    ]  # fmt: skip


def _upscale(chance: random.Random, number: int, parent: Invented, born: datetime) -> Invented:
    """A larger version of a parent: no prompt, and the parent named in one of the shapes the service uses."""
    id_ = parent.document["id"]
    shared = {
        "generationId": f"gen_{_uuid(chance).hex[:20]}",
        "createdByUserId": parent.document["createdByUserId"],
        "prompt": "",
        "model": UPSCALER,
        "inputImageIds": chance.choice(([id_], {"source": id_}, {"0": id_}, None)),
    }
    return _image(chance, number, parent.workspace, born, shared, {"factor": chance.choice((2, 4))})


def _image(
    chance: random.Random, number: int, workspace: str, born: datetime, shared: dict[str, Any], extra: dict[str, Any]
) -> Invented:
    id_ = str(_uuid(chance))
    picture = Picture(number % LOOKS, f"{id_} 1")
    touched = born + timedelta(seconds=chance.choice((0, 0, 0, 4, 86_000)))
    document = {
        "id": id_,
        "workspaceId": workspace,
        **shared,
        "parameters": {"aspectRatio": _ratio(picture), "format": picture.media_type.removeprefix("image/"), **extra},
        **facts(picture),
        "createdAt": timestamp(born),
        "updatedAt": timestamp(touched),
    }
    return Invented(workspace, document, picture)


def facts(picture: Picture) -> dict[str, int]:
    """The fields of a document that describe the bytes."""
    width, height = picture.dimensions
    return {"imageWidth": width, "imageHeight": height, "imageSize": picture.size}


def _ratio(picture: Picture) -> str:
    width, height = picture.dimensions
    names = {1.0: "1:1", 1.33: "4:3", 0.75: "3:4", 0.8: "4:5", 1.78: "16:9", 0.56: "9:16"}
    return names[round(width / height, 2)]


def _uuid(chance: random.Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)
