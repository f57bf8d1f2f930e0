"""The figures' words in Chinese, by their English."""

# ruff: noqa: RUF001

CHINESE = {
    " (simulated)": "（模拟数据）",
    "SIMULATED data, not a measurement.": "模拟数据（SIMULATED），并非实测。",
    "Only after {tool}.": "仅含 {tool} 之后的记录。",
    "Only rounds {first} to {last}.": "仅含第 {first} 至 {last} 轮。",
    "Means over the recorded window, not the first token alone.": "为记录窗口内各 token 的均值，而非仅首个 token。",
    "after other tools or rounds": "其他工具或轮次之后",
    "Normalised entropy": "归一化熵",
    "Tool-call round": "工具调用轮次",
    "Global step": "全局训练步",
    "Mean normalised entropy": "归一化熵均值",
    "Change of normalised entropy": "归一化熵的变化",
    "Token of the segment (1: the first)": "片段内 token 序号（1 为首个）",
    "Entropy of the first token after each tool result": "每轮工具调用反馈后首个 token 的熵",
    "Entropy after tool results over training": "训练过程中工具反馈后的熵",
    "Entropy after tool results, by step and round": "工具反馈后的熵：按训练步与轮次",
    "Entropy after a tool result, by tool": "工具反馈后的熵：按工具",
    "How entropy fades within a segment": "片段内熵的衰减",
    "Change of entropy against the trajectory's own start": "工具反馈后的熵相对该轨迹初始熵的变化",
    "after a tool result (mean ± sd)": "工具反馈后（均值 ± 标准差）",
    "before any tool call (mean ± sd)": "首次工具调用前（均值 ± 标准差）",
    "after a tool result": "工具反馈后",
    "at the answer's start": "回答开头",
    "before any tool call": "首次工具调用前",
    "round {number}": "第 {number} 轮",
    "0 (start)": "0（初始）",
    "Points: every record (n = {total:,}).": "数据点：全部记录（n = {total:,}）。",
    "Points: an even sample of {shown:,} of {total:,} records.": (
        "数据点：从 {total:,} 条记录中均匀抽取 {shown:,} 条。"
    ),
    "Marks and bars: mean ± 1 standard deviation (n - 1) of all records of each round.": (
        "标记与误差棒：各轮全部记录的均值 ± 1 个标准差（n - 1）。"
    ),
    "Entropy in nats over ln(vocabulary size).": "熵以 nat 计，除以 ln(词表大小)。",
    "Dotted: mean before any tool call.": "点线：首次工具调用前的均值。",
    "Under each round: its number of records.": "轮次下方为记录数。",
    "Marks: mean.": "标记：均值。",
    "Bar": "误差棒",
    "Band": "色带",
    "{what}: 95 % interval of the mean, taking records as independent (percentile bootstrap, 999 resamples; "
    "normal above n = {most}; none below n = 5).": (
        "{what}：均值的 95 % 区间，视各记录为独立（百分位自助法，重采样 999 次；"
        "n > {most} 时用正态近似；n < 5 时不画）。"
    ),
    "Lines: mean of each round's records at each step.": "折线：每个训练步各轮记录的均值。",
    "Small points: the records, where a step has fewer than 5.": "小点：训练步不足 5 条时的各条记录。",
    "Lines: mean over segments that reach this token; n: segments in all.": (
        "折线：达到该 token 的片段的均值；n：片段总数。"
    ),
    "Lines: running means over {width} steps; faint lines: mean of each round's records at each step.": (
        "折线：{width} 个训练步的滑动平均；浅色细线：每个训练步各轮记录的均值。"
    ),
    "Dot: fewer than 5 records.": "圆点：不足 5 条记录。",
    "Dashed: 0.6, the guide's mark of a high entropy.": "虚线：0.6，指南中高熵的标准。",
    "0.6, the guide's mark of a high entropy, lies above this picture.": "指南中高熵的标准 0.6 高于本图范围。",
    "From a console log: means of the first data-parallel worker's records alone, without their spread.": (
        "取自控制台日志：仅为第一个数据并行 worker 的记录的均值，不含离散程度。"
    ),
    "Its numbers have three decimals: ± 0.0005.": "数值仅有三位小数：± 0.0005。",
    "Colour: mean of each round's records at each step; white: no record.": (
        "颜色：每个训练步各轮记录的均值；白色：无记录。"
    ),
    "0 (start): the trajectories' first records, before any tool call.": (
        "0（初始）：各轨迹的首条记录，在首次工具调用前。"
    ),
    "Mean change over prompts (n = {n:,}; trajectories: {trajectories:,})": (
        "各提示的平均变化（n = {n:,}；轨迹：{trajectories:,} 条）"
    ),
    "Mean change over trajectories (n = {n:,})": "各轨迹的平均变化（n = {n:,}）",
    "{over}: {change:+.3f}.": "{over}：{change:+.3f}。",
    "Its 95 % interval: {low:+.3f} to {high:+.3f}.": "其 95 % 区间：{low:+.3f} 至 {high:+.3f}。",
    "d_z = {effect:.2f}, Wilcoxon signed-rank p {p}.": "d_z = {effect:.2f}，Wilcoxon 符号秩检验 p {p}。",
    "Records without a known start: {n:,}.": "初始熵未知的记录：{n:,} 条。",
    "Records of several sources are mixed: {sources}.": "混合了多种来源的记录：{sources}。",
    "Records of calls that were not recorded whole: {n:,}.": "来自未完整记录的调用的记录：{n:,} 条。",
    "Records whose tool, round or parent is not sure: {n:,}.": "工具、轮次或父轨迹不确定的记录：{n:,} 条。",
    "Records whose prompt or turns may not be the policy's: {n:,}.": "提示或对话标记未能确定还原的记录：{n:,} 条。",
    "No tool was called: these are the trajectories' starts alone.": "没有调用任何工具：仅有各轨迹的起始记录。",
    "Imported: {source}.": "导入：{source}。",
    "recorded": "实时记录",
    "imported": "导入",
    "rescored": "重新打分",
    "simulated": "模拟",
    "Only {kind} records.": "仅{kind}。",
    "Step {step}.": "训练步 {step}。",
    "{count:,} steps, {first} to {last}.": "{count:,} 个训练步，{first} 至 {last}。",
    "Left out: {reasons}.": "未计入：{reasons}。",
    "padding rows": "填充行",
    "without an entropy (null)": "无熵值（null）",
    "stale steps": "过期训练步",
    "sampled": "采样记录",
    "greedy": "贪心解码记录",
    "validation": "验证记录",
}
