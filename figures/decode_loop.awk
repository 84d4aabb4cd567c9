END {
    for (i = 2; i <= num_rows; i++) { # the first step creates the plan
        event = cell(i, "event")
        plan += cell(i, "plan_us"); sent += cell(i, "sent_plan_us"); launch += cell(i, "launch_us")
        device += cell(i, "device_us"); sent_device += cell(i, "sent_device_us"); queries += cell(i, "queries")
        kind[event]++; us[event] += cell(i, "plan_us")
        captures += cell(i, "capture_us") > 0
    }
    n = num_rows - 1
    first = told("# event: 0 nothing, 1 a block begins") ? 2 : 1 # event: from here on, a plan is sent
    for (e = 0; e <= 4; e++) {
        if (e < first) { growth += kind[e]; growth_us += us[e] } else { events += kind[e]; events_us += us[e] }
    }
    say("the plan of {} steps", num_rows)
    say("on average {} branches", d(0, queries / n))
    holds("seven searches", told("7 searches of document merging at once"))
    holds("8 layers", told("8 layers in one CUDA graph"))
    holds("32/8 heads, head_dim 128, fp16, blocks of 16 tokens", told("fp16, 32/8 heads, head_dim 128, block_tokens 16"))
    say("In {} of the steps branches only grow", growth)
    say("notices this and names the blocks that begin, which takes {} us.", d(1, growth_us / growth))
    say("The {} plan events take {} us each", events, d(0, events_us / events))
    say("which makes {} us per step in the mean", d(1, plan / n))
    say("instead of {} us", d(1, sent / n))
    say("cudaGraphLaunch takes {} us", d(1, launch / n))
    say("captured {} times more", captures)
    holds("less than a tenth of them are plan events", events < n / 10)
    holds("within 5 % of the time with an update in every step", device / sent_device < 1.05 && device / sent_device > 0.95)
    holds("a grey point below a blue one", plan < sent)
    holds("H200", told_device("NVIDIA H200"))
    exit failed
}
