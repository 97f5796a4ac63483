"""Results as flat records, those of one detector on one dataset together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

from detectron2_patch.analysis.costs import Cost, Costs
from detectron2_patch.analysis.front import front
from detectron2_patch.results.identity import Model, models_of
from detectron2_patch.settings.cost import bits_per_pixel, times_smaller, total_bytes
from detectron2_patch.settings.labels import distinct_labels
from detectron2_patch.settings.levels import SCOPES
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.json_values import digest

METRICS = ("AP", "APs", "APm", "APl")
Ratios = tuple[float, ...]  # of P2 … P6, inf for "max"


@dataclass(frozen=True)
class Record:
    """One result.

    Attributes:
        id: 12 hexadecimal digits, the same for the same setting.
        setting: what was evaluated.
        ratios: of each level, None for a level that isn't sent.
        plain: it is ratios alone, so five controls can say it.
        metrics: all of ``bbox``, in percent.
        sent, full: elements of each level, where the result tells.
        bytes: that cross the wire for the whole dataset; None in scope ``rpn``, which saves none.
        smaller: how many times less that is than P2 to P5 in fp32.
    """

    id: str
    setting: Setting
    scope: str
    ratios: tuple[float | None, ...]
    label: str
    plain: bool
    metrics: Mapping[str, float | None]
    sent: Mapping[str, int] | None = None
    full: Mapping[str, int] | None = None
    bytes: int | None = None
    smaller: float | None = None
    bits_per_pixel: float | None = None

    @property
    def clean(self) -> bool:
        return self.setting.is_clean


@dataclass
class Group:
    """The results of one detector, dataset, configuration and engine, each setting once.

    ``notes`` are remarks on the data that a reader has to know, ``results`` all that were read,
    ``costs`` what its settings cost sender and receiver, where that was measured.
    """

    dataset: str
    images: int | None
    model: str
    weights: str
    engine: str
    identity: Model
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    results: list[Mapping[str, Any]] = field(default_factory=list)
    costs: list[Costs] = field(default_factory=list)

    @property
    def clean(self) -> Record | None:
        """The clean pyramid's record; its AP is the same in both scopes."""
        return next((record for record in self.records if record.clean), None)

    @property
    def levels(self) -> tuple[str, ...]:
        """The detector's, finest first."""
        return self.records[0].setting.levels

    @property
    def scopes(self) -> list[str]:
        return [s for s in SCOPES if any(record.scope == s for record in self.records)]

    @property
    def name(self) -> str:
        """``dataset, model 589adda8, engine``."""
        return f"{self.dataset}, {self.model} {self.weights}, {self.engine}"

    def find(self, scope: str, ratios: Ratios) -> Record | None:
        """The plain record of these ratios; the clean one of either scope."""
        if all(ratio == 1 for ratio in ratios):
            return self._plain.get((scope, ratios)) or self.clean
        return self._plain.get((scope, ratios))

    @cached_property
    def _plain(self) -> dict[tuple[str, Ratios], Record]:
        return {(r.scope, r.ratios): r for r in self.records if r.plain}

    def drop(self, record: Record, metric: str = "AP") -> float | None:
        """Points lost against the clean pyramid."""
        clean = None if self.clean is None else self.clean.metrics.get(metric)
        value = record.metrics.get(metric)
        return None if clean is None or value is None else clean - value

    def cost(self, record: Record) -> Cost | None:
        """What sender and receiver work; None where that wasn't measured."""
        found = (costs.get(record.setting) for costs in self.costs)
        return next((cost for cost in found if cost is not None), None)


def make_groups(results: Iterable[Mapping[str, Any]], costs: Sequence[Costs] = ()) -> list[Group]:
    """Results by dataset, weights, configuration and engine, in the order of the names.

    ``costs`` go to the groups of their weights and engine. A setting that several results have is
    taken once, the first; a note says so where their numbers differ.
    """
    groups: dict[Model, Group] = {}
    seen: dict[tuple, Record] = {}
    differing: dict[Model, list[tuple[Record, Record]]] = {}
    results = list(results)
    for result, identity in zip(results, models_of(results)):
        if identity not in groups:
            groups[identity] = _new_group(result, identity)
        groups[identity].results.append(result)
        record = make_record(result)
        first = seen.setdefault((identity, record.setting), record)
        if first is record:
            groups[identity].records.append(record)
        else:
            differing.setdefault(identity, []).append((first, record))
    for identity, doubles in differing.items():
        groups[identity].notes += _differences(doubles)
    for group in groups.values():
        labels = distinct_labels(record.setting for record in group.records)
        group.records = [replace(one, label=labels[one.setting]) for one in group.records]
        group.costs = [one for one in costs if tells_of(one, group)]
    return sorted(groups.values(), key=lambda group: (group.name, str(group.identity)))


def tells_of(costs: Costs, group: Group) -> bool:
    """Whether costs were measured with a group's weights and engine."""
    where = costs.conditions
    return (where.get("weights"), where.get("engine")) == (
        group.identity.weights,
        group.identity.engine,
    )


def _new_group(result: Mapping[str, Any], identity: Model) -> Group:
    file = (result.get("config") or {}).get("file")
    return Group(
        dataset=str(identity.dataset or "unknown dataset"),
        images=(result["dataset"] or {}).get("image_count"),
        model=PurePath(str(file)).stem if file else "unknown model",
        weights=str(identity.weights or "unknown")[:8],
        engine=str(identity.engine),
        identity=identity,
    )


def _differences(doubles: Sequence[tuple[Record, Record]]) -> list[str]:
    """A note where results of one setting, both with an AP, have another AP."""
    gaps = [
        (abs(first.metrics["AP"] - other.metrics["AP"]), first)
        for first, other in doubles
        if None not in (first.metrics["AP"], other.metrics["AP"])
        and first.metrics["AP"] != other.metrics["AP"]
    ]
    if not gaps:
        return []
    gap, widest = max(gaps, key=lambda pair: pair[0])
    return [
        f"{len(gaps)} settings have two results that differ in AP, by {gap:.2g} points at most "
        f"({widest.label}, scope {widest.scope}); the first one read is shown"
    ]


def make_record(result: Mapping[str, Any]) -> Record:
    """Flatten one result; what its payload doesn't tell stays None."""
    setting, payload = Setting.from_json(result["setting"]), result["payload"] or {}
    return Record(
        id=digest(result["setting"])[:12],
        setting=setting,
        scope=setting.scope,
        ratios=setting.ratios,
        label=setting.label,
        plain=setting.is_plain,
        metrics=result["results"]["bbox"],
        sent=_elements(payload, "sent", setting.levels),
        full=_elements(payload, "full", setting.levels),
        bytes=total_bytes(result),
        smaller=times_smaller(result) if setting.scope == "pyramid" else None,
        bits_per_pixel=bits_per_pixel(result),
    )


def _elements(payload: Mapping[str, Any], key: str, levels: Sequence[str]) -> dict[str, int] | None:
    counts = payload.get(key)
    known = isinstance(counts, Mapping) and all(
        _number(counts.get(level)) is not None for level in levels
    )
    return {level: counts[level] for level in levels} if known else None


def _number(value: Any) -> int | float | None:
    return value if type(value) in (int, float) else None


def pareto_front(group: Group) -> list[Record]:
    """The records that no other one beats in both bytes and AP, by rising bytes."""
    known = [r for r in group.records if r.bytes is not None and r.metrics.get("AP") is not None]
    return front(known, lambda r: r.bytes, lambda r: r.metrics["AP"], lambda r: r.label)


def ratio_values(records: Sequence[Record]) -> dict[str, list[float]]:
    """The ratios that plain records have of each level, ascending, 1 always among them."""
    return {
        level: sorted({1.0, *(float(r.ratios[i]) for r in records if r.plain)})
        for i, level in enumerate(records[0].setting.levels)
    }
