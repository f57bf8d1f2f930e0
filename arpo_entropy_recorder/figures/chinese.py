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
    "Change of normalised entropy": "归一化熵的变化",
    "Token of the segment (1: the first)": "片段内 token 序号（1 为首个）",
    "Entropy of the first token after each tool result": "每轮工具调用反馈后首个 token 的熵",
    "Mean entropy of the first tokens after each tool result": "每轮工具调用反馈后前若干 token 的平均熵",
    "Entropy after tool results over training": "训练过程中工具反馈后的熵",
    "Entropy after tool results, by step and round": "工具反馈后的熵：按训练步与轮次",
    "Entropy after a tool result, by tool": "工具反馈后的熵：按工具",
    "Change of entropy against the trajectory's own start": "工具反馈后的熵相对该轨迹初始熵的变化",
    "after a tool result (mean ± sd)": "工具反馈后（均值 ± 标准差）",
    "before any tool call (mean ± sd)": "首次工具调用前（均值 ± 标准差）",
    "after a tool result": "工具反馈后",
    "at the answer's start": "回答开头",
    "before any tool call": "首次工具调用前",
    "round {number}": "第 {number} 轮",
    "0 (start)": "0（初始）",
    "Points: every record (n = {total:,}).": "数据点：全部记录（n = {total:,}）。",
    "Triangles: values beyond the axis.": "三角形：超出坐标轴的值。",
    "Points: an even sample of {shown:,} of {total:,} records.": (
        "数据点：从 {total:,} 条记录中均匀抽取 {shown:,} 条。"
    ),
    "Marks and bars: mean ± 1 standard deviation (n - 1) of all records of each round.": (
        "标记与误差棒：各轮全部记录的均值 ± 1 个标准差（n - 1）。"
    ),
    "Entropy in nats over ln(vocabulary size).": "熵以 nat 计，除以 ln(词表大小)。",
    "Dotted: mean before any tool call.": "点线：首次工具调用前的均值。",
    "Under each round: its number of records.": "轮次下方为记录数。",
    "Lines: mean of each round's records at each step.": "折线：每个训练步各轮记录的均值。",
    "Dashed: 0.6, the guide's mark of a high entropy.": "虚线：0.6，指南中高熵的标准。",
    "0.6, the guide's mark of a high entropy, lies above this picture.": (
        "指南中高熵的标准 0.6 高于本图范围。"
    ),
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
    "Trajectories whose prompt is not known, counted as one each: {n:,}.": (
        "提示未知、各自单独计为一个提示的轨迹：{n:,} 条。"
    ),
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
    "replaced rows": "被后来的行取代的行",
    "non-numeric values": "非数字的值",
    "Records without a window are counted as without an entropy.": "没有窗口的记录计为无熵值。",
    "stale steps": "过期训练步",
    "sampled": "采样记录",
    "greedy": "贪心解码记录",
    "validation": "验证记录",
    "Nats": "nat",
    "After / before": "之后 / 之前",
    "Mean entropy": "平均熵",
    "Entropy of a segment's first tokens": "片段前若干 token 的熵",
    "Entropy after tool results over that before any": "工具反馈后的熵与首次调用前的熵之比",
    "Dot: median; box: middle half; line: p10 to p90; tick: mean.": (
        "圆点：中位数；方框：中间一半；细线：p10 至 p90；短横：均值。"
    ),
    "No box below n = {least}.": "n < {least} 时不画方框。",
    "Line: median; dark band: middle half; light band: p10 to p90.": (
        "折线：中位数；深色带：中间一半；浅色带：p10 至 p90。"
    ),
    "Tick: mean.": "短横：均值。",
    "Points: the records, where there are fewer than {least}.": "小点：不足 {least} 条时的各条记录。",
    "Grey: from {floor:g} down to 0, drawn linearly.": "灰色：0 至 {floor:g}，按线性绘制。",
    "Grey: changes below {floor:g}, drawn linearly.": "灰色：小于 {floor:g} 的变化，按线性绘制。",
    "Dotted: median before any tool call.": "点线：首次工具调用前的中位数。",
    "Under the rounds: their numbers of records.": "轮次下方为记录数。",
    "Normalised: nats / ln({size:,}).": "归一化：nat / ln({size:,})。",
    "Tools with fewer results, not shown: {n:,}.": "未显示的调用较少的工具：{n:,} 个。",
    "n: segments; each token's numbers are those of the segments that reach it.": (
        "n：片段数；每个 token 取达到它的片段。"
    ),
    "Steps are drawn in bins of {width:,}.": "每 {width:,} 个训练步合为一组。",
    "Dot: fewer than {least} records.": "圆点：不足 {least} 条记录。",
    "Values beyond the colours' ends have the end's colour.": "超出色标两端的值取端点颜色。",
    "Above: sum of the prompts' mean entropies after tool results over that of their starts.": (
        "上图：各提示工具反馈后平均熵之和与其初始熵之和的比。"
    ),
    "Each point adds up {width} steps.": "每个点合计 {width} 个训练步。",
    "Band: 95 % interval over prompts (Fieller); no ratio where it has no bound.": (
        "色带：按提示计算的 95 % 区间（Fieller）；区间无界时不画比值。"
    ),
    "Thin: one seed each; thick: their geometric mean, without an interval.": (
        "细线：各个种子；粗线：其几何平均，不含区间。"
    ),
    "Below: the means over prompts; several runs: after tool results.": (
        "下图：各提示的均值；多次训练时仅为工具反馈后。"
    ),
    "Below: the means over prompts.": "下图：各提示的均值。",
    "exact": "精确值",
    "the loop's own": "循环自身所用",
    "The loop's own: of the log-probabilities that it was given.": "循环自身所用：取自其得到的对数概率。",
    "no branch": "未分支",
    "branch": "分支",
    "Entropy, sum over {tokens} tokens": "前 {tokens} 个 token 的熵之和",
    "Places: segments before a tool result with which the trajectory went on; branch: another began there.": (
        "位置：其后轨迹在工具反馈后继续的片段；分支：另一轨迹由此开始。"
    ),
    "Entropy where the loop branched and where not": "分支处与未分支处的熵",
    "Rank correlation of the two: {rho:.2f} (n = {n:,}).": "两者的秩相关：{rho:.2f}（n = {n:,}）。",
    "By ARPO's rule (probability {threshold}, weight {weight}) the probability of a branch differs by "
    "{difference:.2g} on average: the expected share of decisions that change under the same random draws.": (
        "按 ARPO 的规则（概率 {threshold}，权重 {weight}），分支概率平均相差 {difference:.2g}，"
        "即相同随机数下预期改变的决定所占比例。"
    ),
}
