"""The words of the page's script and controls in Chinese, by their English."""

# ruff: noqa: RUF001, E501

from arpo_entropy_recorder.figures.chinese import CHINESE as FIGURES
from arpo_entropy_recorder.report.chinese import CHINESE as PAGE

# What figures and text of the page say, too.
SHARED = (
    "After / before", "after a tool result", "Global step", "Normalised entropy", "Nats",
    "no ratio", "By tool", "Round", "Tool", "Mean", "to",
)  # fmt: skip
CHINESE = {word: (FIGURES | PAGE)[word] for word in SHARED} | {
    "step {step}, trajectory {sample}: {entropy}": "第 {step} 步，轨迹 {sample}：{entropy}",
    "Line: median; band: middle half.": "折线：中位数；色带：中间一半。",
    "Each point pools {n} steps.": "每个点合并 {n} 个训练步。",
    "Each point adds up {n} steps.": "每个点合计 {n} 个训练步。",
    "What is below {low} lies on the lower edge.": "低于 {low} 的值画在下边缘。",
    "Dashed: {name}.": "虚线：{name}。",
    "Dots: trajectories to read, at their highest entropy after a tool.": "圆点：可阅读的轨迹，位于其工具反馈后的最高熵。",
    "Drag, or move the two handles, to choose steps.": "拖动，或移动两个手柄，以选择训练步。",
    "First step chosen": "所选的首个训练步",
    "Last step chosen": "所选的最后训练步",
    "Sum of the prompts' mean entropies after tool results over that of their starts; band: 95 % interval over prompts; "
    "at 1x a tool result changes nothing.": (
        "各提示工具反馈后平均熵之和与其初始熵之和的比；色带：按提示计算的 95 % 区间；1x 表示工具反馈不改变熵。"
    ),
    "start": "初始",
    "By round, in the chosen steps": "所选训练步：按轮次",
    "By round": "按轮次",
    "p10 to p90": "p10 至 p90",
    "Median": "中位数",
    "By tool, in the chosen steps": "所选训练步：按工具",
    "A tool's name chooses it for the whole page.": "点击工具名即为整页选定该工具。",
    "The records name no tools.": "记录中没有工具名。",
    "Line: p10 to p90; box: middle half; tick: median; log axis from {low} to {high}.": (
        "细线：p10 至 p90；方框：中间一半；短线：中位数；对数轴从 {low} 至 {high}。"
    ),
    "In nats: {low} to {high}.": "以 nat 计：{low} 至 {high}。",
    "any tool": "任一工具",
    "Steps {steps}, after {tool}: ": "第 {steps} 步，{tool} 之后：",
    " of the start ({before} to {after}), n = {n} prompts.": " 相对初始（{before} 至 {after}），n = {n} 个提示。",
    "no entropy (null)": "无熵值（null）",
    "entropy {entropy}": "熵 {entropy}",
    "entropy {entropy}: {nats} nats, like {choices} equally likely tokens": (
        "熵 {entropy}：{nats} nat，相当于 {choices} 个等可能的 token"
    ),
    "score {score}": "得分 {score}",
    "Step {step}, no. {sample}": "第 {step} 步，{sample} 号",
    "Step {step}, rank {rank}, no. {sample}": "第 {step} 步，rank {rank}，{sample} 号",
    "{n} of {all} trajectories": "{all} 条轨迹中的 {n} 条",
    "; mean score {mean} of {scored}": "；{scored} 条的平均得分 {mean}",
    "Step {step}, trajectory {sample}": "第 {step} 步，轨迹 {sample}",
    "Prompt": "提示",
    "of high entropy": "高熵",
    "of middle entropy": "中等熵",
    "of low entropy": "低熵",
    "the prompt followed through training": "在训练中跟踪的提示",
    "mean after tool results {level}": "工具反馈后的均值 {level}",
    "data-parallel rank {rank}": "数据并行 rank {rank}",
    "call {call}": "第 {call} 次调用",
    "branched from trajectory {parent}, which holds its beginning": "分支自轨迹 {parent}，其开头在该轨迹中",
    "The text of this trajectory is not known.": "该轨迹的文本未知。",
    "Result of {tool}": "{tool} 的结果",
    "a tool": "某个工具",
    "; its text was not recorded": "；其文本未记录",
    "Policy, round {round} ": "策略，第 {round} 轮 ",
    "forked at round {round}, entropy {entropy}: ": "在第 {round} 轮分叉，熵 {entropy}：",
    "no. {sample}": "{sample} 号",
    "The {n} trajectories of this prompt at this step": "该提示在此训练步的 {n} 条轨迹",
    "First entropies round by round; a branch stands below the one it forked from.": (
        "逐轮的首个 token 的熵；分支列在其来源轨迹之下。"
    ),
    "Forks above the median entropy of their round": "熵高于该轮中位数的分叉",
    "Forks below it": "熵低于中位数的分叉",
    "too few prompts": "提示太少",
    "What branches score, in the chosen steps": "所选训练步：分支的得分",
    "Branches": "分支",
    "Score above their prompt's others": "高于同提示其他轨迹的得分",
    "Prompts": "提示数",
    "A branch's score minus the mean score of its prompt's other trajectories, averaged over the prompt's branches; mean "
    "over prompts with its 95 % interval (Student's t); left out below {least} prompts. The median is that of the records "
    "of the same step and round. This is not a causal effect.": (
        "分支得分减去同提示其他轨迹的平均得分，先在提示内取平均；再对提示取均值及 95 % 区间（Student t）；"
        "少于 {least} 个提示时不给出。中位数取同一训练步同一轮的记录。这不是因果效应（not a causal effect）。"
    ),
    "none": "无",
    "all": "全部",
    "Quantiles are within one bin of the records' ({width} wide, from {lowest} up); ratios and intervals are exact.": (
        "分位数精确到一个直方图区间（宽 {width}，自 {lowest} 起）；比值与区间是精确的。"
    ),
    "Overview": "概览",
    "What is shown": "显示内容",
    "Run": "训练",
    "beside": "对照",
    "Steps": "训练步",
    "All": "全部",
    "First tenth": "前十分之一",
    "Last tenth": "后十分之一",
    "Over training": "训练过程",
    "before any": "首次调用前",
    "Trajectories to read": "可阅读的轨迹",
    "Filters of the list": "列表筛选",
    "Score from": "得分自",
    "Contains": "包含",
    "Trajectories": "轨迹",
}
