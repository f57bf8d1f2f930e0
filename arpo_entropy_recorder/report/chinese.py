"""The words of the page's text in Chinese, by their English, beside those that the figures have, too.

Messages of errors and names from the files stay as they are.
"""

# ruff: noqa: RUF001, E501

CHINESE = {
    # The answer (analysis/verdict).
    "{answer}.": "{answer}。",
    "{numbers}; {ratio}": "{numbers}；{ratio}",
    "No answer": "无法回答",
    "No clear difference between after-tool and initial entropy": "工具反馈后的熵与初始熵无明显差异",
    "Yes: after-tool entropy exceeds the initial one": "是：工具反馈后的熵高于初始熵",
    "No: after-tool entropy is below the initial one": "否：工具反馈后的熵低于初始熵",
    "no trajectory has both an initial and an after-tool entropy": "没有同时具有初始熵和工具反馈后的熵的轨迹",
    "mean change {change:+.4f}, but for an interval there have to be {least} {over}, not {n}": (
        "平均变化 {change:+.4f}，但计算区间至少需要 {least} 个样本（{over}），现有 {n} 个"
    ),
    "mean change {change:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}], {strength}, over n = {size}; it rises for "
    "{rising:.0%} of the {over}": (
        "平均变化 {change:+.4f}，95 % 区间 [{low:+.4f}, {high:+.4f}]，{strength}，n = {size}；其中 {rising:.0%} 的{over}熵上升"
    ),
    "prompts": "提示",
    "trajectories": "轨迹",
    "{n:,} prompts with {trajectories:,} trajectories": "{n:,} 个提示（{trajectories:,} 条轨迹）",
    "d_z not defined (all changes equal)": "d_z 无定义（所有变化相等）",
    "{effect}, Wilcoxon signed-rank p {p}": "{effect}，Wilcoxon 符号秩检验 p {p}",
    "no ratio": "无比值",
    "no ratio, since the starts are not clearly above 0 ({before} -> {after})": (
        "无比值，因初始熵未明显高于 0（{before} -> {after}）"
    ),
    "{ratio} of the start ({before} -> {after})": "为初始熵的 {ratio}（{before} -> {after}）",
    "against the start {first}, {last}{since}; after tool results {level}": (
        "与初始熵之比{first}，{last}{since}；工具反馈后的熵{level}"
    ),
    "{ratio} in steps {first} to {last}": "在第 {first} 至 {last} 步为 {ratio}",
    "; below 1x since {since}": "；{since}起低于 1x",
    "the beginning, step {step}": "自开始（第 {step} 步）",
    "about step {step}": "约自第 {step} 步",
    "about step {step} ({low} to {high})": "约自第 {step} 步（{low} 至 {high}）",
    "{before} -> {after}, without a ratio": " {before} -> {after}，无比值",
    "{level} of the beginning ({before} -> {after})": "为训练开始时的 {level}（{before} -> {after}）",
    "No answer for the end: of the prompts there {n} have both entropies, {least} are needed": (
        "末段无法回答：其中只有 {n} 个提示同时具有两种熵，至少需要 {least} 个"
    ),
    "No ratio at the end, where the starts are not clearly above 0": "末段无比值：其初始熵未明显高于 0",
    "Tool results raise the entropy at the end; how the level has changed is not known": (
        "工具反馈在末段提高熵；熵水平如何变化尚不可知"
    ),
    "Risen: tool results raise the entropy at the end, but lowered it at first": (
        "已上升：工具反馈在末段提高熵，起初则降低熵"
    ),
    "Faded: tool results still raise the entropy, at a far lower level": "已减弱：工具反馈仍提高熵，但熵水平低得多",
    "Holds: tool results raise the entropy to the end": "保持：工具反馈直到末段都提高熵",
    "Gone: at the end the entropy after tool results is below the start's": "已消失：末段工具反馈后的熵低于初始熵",
    "No: at the end the entropy after tool results is below the start's": "否：末段工具反馈后的熵低于初始熵",
    "No longer clear: tool results raised the entropy at first": "不再明显：工具反馈起初提高熵",
    "No clear difference between after-tool and initial entropy at the end": "末段工具反馈后的熵与初始熵无明显差异",
    "Not so after {tool}, which raises it no longer: {first}, {last}.": "{tool} 例外，不再提高熵：{first}，{last}。",
    "But {tool} raises it still: {first}, {last}.": "但 {tool} 仍提高熵：{first}，{last}。",
    "After each tool by itself the entropy has not clearly changed; the mix of tools has.": (
        "单看每个工具，其反馈后的熵无明显变化；变化的是各工具的调用比例。"
    ),
    "token {id} makes up {share:.0%} of the first tokens after a tool result": (
        "工具反馈后的首个 token 中 {share:.0%} 为 token {id}"
    ),
    "token {id} makes up {share:.0%} of the starts": "初始的首个 token 中 {share:.0%} 为 token {id}",
    "{tokens}: formatting, perhaps; compare {remedy}.": "{tokens}：可能只是格式；请对照{remedy}。",
    "a window's mean": "窗口均值",
    " and ": "和",
    ", ": "、",
    " ": "",
    # Headings, figures and tables.
    "Entropy report": "熵报告",
    "Does the policy become uncertain after tool results?": "工具反馈之后，策略是否变得不确定？",
    "Entropy is that of the first token's distribution over the whole vocabulary, in nats over ln(vocabulary size): 0 is "
    "certain, 1 is uniform.": (
        "熵指首个 token 在整个词表上的分布的熵，以 nat 计，除以 ln(词表大小)：0 为确定，1 为均匀分布。"
    ),
    "Skip to the overview": "跳至概览",
    "Before any tool call": "首次工具调用前",
    "After a tool result": "工具反馈后",
    "Change within a trajectory": "轨迹内的变化",
    "Effect size": "效应量",
    "mean of {n:,} records": "{n:,} 条记录的均值",
    "95 % interval {low} to {high}": "95 % 区间 {low} 至 {high}",
    "too few for an interval": "数量太少，无法给出区间",
    "d_z, over {size}": "d_z，{size}",
    "Figures": "图",
    "Not drawn:": "未绘制：",
    "{figure}: one step only": "{figure}：仅有一个训练步",
    "{figure}: no trajectory is a branch": "{figure}：没有分支轨迹",
    "{figure}: {error}": "{figure}：{error}",
    "{alt} The numbers are in the tables below.": "{alt}数值见下方表格。",
    "Full size": "原尺寸",
    "Fit to the page": "适应页宽",
    "After / before over training": "训练过程中的之后 / 之前",
    "Entropy after tool results over that before any, and its level, over the global steps of training.": (
        "各训练步工具反馈后的熵与首次调用前的熵之比，及其水平。"
    ),
    "After each tool result": "每次工具反馈之后",
    "Each record's entropy by tool-call round, with quantiles and mean.": "各工具调用轮次的每条记录的熵，含分位数与均值。",
    "Against the trajectory's own start": "相对该轨迹的初始熵",
    "Each record's entropy minus its trajectory's initial one, by round.": "各轮次每条记录的熵减去其轨迹的初始熵。",
    "Over training": "训练过程",
    "Entropies after tool results and before any over the global steps of training, with quantiles.": (
        "各训练步工具反馈后与首次调用前的熵，含分位数。"
    ),
    "By step and round": "按训练步与轮次",
    "Heat map of mean entropy by global step and round.": "按训练步与轮次的平均熵热图。",
    "By tool": "按工具",
    "Entropy after each tool's results, with quantiles and mean.": "各工具反馈后的熵，含分位数与均值。",
    "Within a segment": "片段之内",
    "Entropy of a segment's first tokens, after a tool result and at the start, with quantiles.": (
        "片段前若干 token 的熵（工具反馈之后与开头），含分位数。"
    ),
    "Where the loop branched": "分支之处",
    "Entropy at places where a trajectory was branched and where none was, with quantiles.": (
        "轨迹被分支之处与未分支之处的熵，含分位数。"
    ),
    "Numbers": "数值",
    "By tool-call round": "按工具调用轮次",
    "By tool, after its results": "按工具（其反馈之后）",
    "Change against the trajectory's own start": "相对该轨迹初始熵的变化",
    "after any tool result": "任一工具反馈后",
    "Round": "轮次",
    "Tool": "工具",
    "Mean": "均值",
    "sd": "标准差",
    "Interval from": "区间自",
    "to": "至",
    "Share above {high}": "高于 {high} 的比例",
    "sd: sample standard deviation (n - 1). 95 % interval of the mean, taking records as independent: percentile "
    "bootstrap, 999 resamples; normal above n = 200; none below n = 5.": (
        "标准差：样本标准差（n - 1）。均值的 95 % 区间，视各记录为独立：百分位自助法，重抽样 999 次；n > 200 时用正态近似；"
        "n < 5 时不给出。"
    ),
    # What the files tell.
    "The run": "本次训练",
    "{run}, as its files tell": "{run}：文件所载",
    "Shown": "显示",
    "{kind} records": "{kind}",
    "Left out": "未计入",
    "Files": "文件",
    "Training steps": "训练步",
    "Validation steps": "验证步",
    "Records": "记录",
    "Source": "来源",
    "Window": "窗口",
    "Token ids": "token id",
    "Data-parallel ranks": "数据并行 rank 数",
    "Ranks missing": "缺少的 rank",
    "Stale steps": "过期训练步",
    "Starts of the recorder": "记录器启动次数",
    "Records of incomplete calls": "来自未完整记录的调用的记录",
    "Rescored with": "重新打分所用模型",
    "Rescored: dumped lines": "重新打分：转储行",
    "Rescored: {name}": "重新打分：{name}",
    "step {step}: {ranks}": "第 {step} 步：{ranks}",
    "and {n:,} more steps": "及另外 {n:,} 步",
    "{n:,}, left out: {steps}": "{n:,}，未计入：{steps}",
    "{n:,}, {first} to {last}": "{n:,}，{first} 至 {last}",
    "{n:,} steps": "{n:,} 步",
    "first {n} tokens of a segment": "每个片段的前 {n} 个 token",
    "first token": "首个 token",
    "in the records": "在记录中",
    "not recorded": "未记录",
    "Made by arpo-entropy {version} on {made}. This page loads nothing.": (
        "由 arpo-entropy {version} 生成于 {made}。本页不加载任何外部内容。"
    ),
    # What the page holds.
    "What this page holds": "本页内容",
    "This page holds numbers only, no text of the rollouts.": "本页只含数值，不含 rollout 的文本。",
    "This page holds {parts} of {trajectories}, no text of them.": "本页含 {trajectories}的{parts}，不含其文本。",
    "This page holds {trajectories} with {parts}.": "本页含 {trajectories}，包括{parts}。",
    "{n:,} trajectories": "{n:,} 条轨迹",
    "numbers": "数值",
    "scores": "得分",
    "what the policy wrote": "策略所写文本",
    "tool results": "工具反馈",
    "From each tenth of the steps some trajectories of high, middle and low entropy, by their mean after tool results: "
    "{n:,} in all.": "按工具反馈后的平均熵，从每十分之一训练步中取高、中、低熵的若干轨迹：共 {n:,} 条。",
    "Among them one prompt, followed through the training.": "其中包括一个在训练中跟踪的提示。",
    "Joined with the dump by what the policy wrote: {joined:,} trajectories; ambiguous {ambiguous:,}, without a line "
    "{missing:,}.": "按策略所写文本与转储对应：{joined:,} 条轨迹；有歧义 {ambiguous:,}，无对应行 {missing:,}。",
    "Of the joined, {n:,} have a line that the trainer cut.": "已对应的轨迹中，{n:,} 条的转储行被训练器截断。",
    "Lines of the dump that cannot be read: {n:,}.": "转储中无法读取的行：{n:,}。",
    "The records hold no tokens: to read what was written, record with record_tokens = true.": (
        "记录中没有 token：要阅读所写文本，请以 record_tokens = true 记录。"
    ),
    "The records hold no tokens: to read what was written, record with record_tokens = true and entropy_window = 20 "
    "(their entropies).": (
        "记录中没有 token：要阅读所写文本，请以 record_tokens = true 和 entropy_window = 20（其熵）记录。"
    ),
    "The records hold tokens: give the report the run's tokenizer to read them.": (
        "记录中有 token：要阅读其文本，请给出该训练的 tokenizer。"
    ),
    "No trajectory with a tool result has all of its tokens recorded.": "没有一条有工具反馈的轨迹记录了全部 token。",
}
